//! Keys of stages that run, build and push, and those all stages share.

use pipeline::{BuildWork, Plan, PushWork, RunWork, Submodules, Work};

use super::Stage;

impl Stage<'_> {
    /// Keys that stages of several actions have.
    pub(super) fn common(&mut self) {
        let stage = self.planned;
        self.uses("runner", !stage.runner.is_empty());
        self.uses("inputs", !stage.inputs.is_empty());
        self.uses("merge", stage.merge.is_some());
        self.uses("concurrency", stage.concurrency.is_some());
        let contained = matches!(stage.work, Work::Run(_));
        if !contained && !stage.secrets.is_empty() {
            self.says("secrets", "uses `secrets`, which this version gives to `run` stages only");
        }
        self.uses("resources", !contained && !stage.resources.is_empty());
    }

    pub(super) fn work(&mut self, plan: &Plan) {
        match &self.planned.work {
            Work::Checkout { depth: _, submodules, lfs, paths } => {
                self.checkout(*submodules, *lfs, paths);
            }
            Work::Run(work) => self.run(work),
            Work::Build(work) => self.build(work),
            Work::Push(work) => self.push(work),
            Work::Deploy(work) => self.deploy(work, plan),
            Work::Approve(_) => self.uses("approve", true),
            Work::Trigger(_) => self.uses("trigger", true),
        }
    }

    fn checkout(&mut self, submodules: Submodules, lfs: bool, paths: &[String]) {
        self.uses("checkout.submodules", submodules != Submodules::No);
        self.uses("checkout.lfs", lfs);
        self.uses("checkout.paths", !paths.is_empty());
    }

    fn run(&mut self, work: &RunWork) {
        let RunWork {
            image: _,
            run: _,
            env: _,
            pull: _,
            shell: _,
            user: _,
            workdir: _,
            services,
            outputs: _,
            reports: _,
        } = work;
        self.uses("services", !services.is_empty());
    }

    /// A build has every key of it.
    fn build(&mut self, work: &BuildWork) {
        let BuildWork { context: _, file: _, target: _, args: _, env: _, tags: _, platform: _ } =
            work;
        self.builds_with_cache();
    }

    /// No container of ours runs that a directory could be mounted into.
    fn builds_with_cache(&mut self) {
        if self.planned.cache.is_empty() {
            return;
        }
        self.says("cache", "uses `cache`, and nothing can be mounted into a build");
        if let Some(last) = self.found.last_mut() {
            last.help = "the engine keeps the layers of builds itself; for more, write \
                         `RUN --mount=type=cache,target=/root/.m2 …` in the Dockerfile"
                .to_owned();
        }
    }

    fn push(&mut self, work: &PushWork) {
        let PushWork { image: _, registry: _, tags: _, scan } = work;
        self.uses("push.scan", scan.is_some());
    }
}
