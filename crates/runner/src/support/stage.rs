//! Keys of stages that run, build and push, and those all stages share.

use pipeline::{BuildWork, Plan, PushWork, Submodules, Work};

use super::Stage;

impl Stage<'_> {
    /// Keys that stages of several actions have.
    pub(super) fn common(&mut self) {
        let stage = self.planned;
        let contained = matches!(stage.work, Work::Run(_));
        if matches!(stage.work, Work::Deploy(_)) && !stage.secrets.is_empty() {
            self.says(
                "secrets",
                "uses `secrets`, which this version gives to `run` and `build` stages only",
            );
        }
        if matches!(stage.work, Work::Deploy(_)) && stage.merge.is_some() {
            self.deploys_joined_files();
        }
        if matches!(stage.work, Work::Build(_)) && !stage.resources.is_empty() {
            self.builds_with_limits();
        } else {
            self.uses("resources", !contained && !stage.resources.is_empty());
        }
    }

    pub(super) fn work(&mut self, plan: &Plan) {
        match &self.planned.work {
            Work::Checkout { depth: _, submodules, lfs, paths } => {
                self.checkout(*submodules, *lfs, paths);
            }
            // It has every key there is.
            Work::Run(_) => {}
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

    /// A build has every key of it.
    fn build(&mut self, work: &BuildWork) {
        let BuildWork { context: _, file: _, target: _, args: _, env: _, tags: _, platform: _ } =
            work;
        self.builds_with_cache();
    }

    /// BuildKit in the engine takes no limits; without saying so they would be none.
    fn builds_with_limits(&mut self) {
        self.says(
            "resources",
            "uses `resources`, and the engine's BuildKit gives builds no limits",
        );
        if let Some(last) = self.found.last_mut() {
            last.help =
                "let the build itself take less, for example `RUN make -j2`, or compile in a \
                         `run` stage, whose `resources` hold, and only copy in the Dockerfile"
                    .to_owned();
        }
    }

    /// Passed over in silence, `merge` would promise files that no deploy stage has.
    fn deploys_joined_files(&mut self) {
        let brings_files = match &self.planned.work {
            Work::Deploy(work) => {
                work.hosts.as_ref().is_some_and(|hosts| !hosts.artifact.is_empty())
            }
            _ => false,
        };
        if brings_files {
            return;
        }
        self.says("merge", "uses `merge`, and a `deploy` stage has no files that could be joined");
        if let Some(last) = self.found.last_mut() {
            last.help =
                "remove it here; where the image is built from what parallel stages wrote, \
                         it belongs to the `build` stage"
                    .to_owned();
        }
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

    /// A push has every key of it.
    fn push(&mut self, work: &PushWork) {
        let PushWork { image: _, registry: _, tags: _, scan: _ } = work;
    }
}
