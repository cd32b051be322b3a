//! A plan as text, for `shipline plan`.

use crate::plan::{Decision, Edge, EdgeReason, ImageSource, Plan, PlannedStage, Work};

/// Returns a tree of the stages with state, work and needs; the last line ends
/// with a line break.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = head(plan);
    let width = plan.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    for (at, stage) in plan.stages.iter().enumerate() {
        let branch = if at + 1 == plan.stages.len() { "└─" } else { "├─" };
        let mark = match stage.state {
            Decision::Run => '●',
            Decision::Skip => '○',
        };
        let padding = " ".repeat(width - stage.name.chars().count());
        let line = format!("{branch} {mark} {}{padding}  {}", stage.name, about(stage));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let skipped = plan.stages.iter().filter(|stage| stage.state == Decision::Skip).count();
    text.push_str(&format!("{} stages, {skipped} skipped\n", plan.stages.len()));
    text
}

fn head(plan: &Plan) -> String {
    let mut head = format!("{} ({}): {}", plan.pipeline, plan.file, plan.event.name());
    if let Some(tag) = &plan.tag {
        head.push_str(&format!(", tag {tag}"));
    }
    if let Some(branch) = &plan.branch {
        head.push_str(&format!(", branch {branch}"));
    }
    if !plan.sha.is_empty() {
        head.push_str(&format!(", commit {}", plan.sha.get(..8).unwrap_or(&plan.sha)));
    }
    head.push('\n');
    head
}

fn about(stage: &PlannedStage) -> String {
    let mut parts = vec![work(&stage.work)];
    match stage.state {
        Decision::Skip => parts.insert(0, format!("skipped: {}", stage.reason)),
        Decision::Run if stage.reason != "no condition" => parts.push(stage.reason.clone()),
        Decision::Run => {}
    }
    if !stage.needs.is_empty() {
        let needs: Vec<String> = stage.needs.iter().map(need).collect();
        parts.push(format!("after {}", needs.join(", ")));
    }
    parts.join(" · ")
}

fn need(edge: &Edge) -> String {
    let must = edge.must.is_some();
    match (edge.by, must) {
        (EdgeReason::Before, true) => format!("{} (before, must run)", edge.stage),
        (EdgeReason::Before, false) => format!("{} (before)", edge.stage),
        (_, true) => format!("{} (must run)", edge.stage),
        (_, false) => edge.stage.clone(),
    }
}

fn work(work: &Work) -> String {
    let image = |image: &ImageSource| match image {
        ImageSource::Stage(stage) => format!("`{stage}`"),
        ImageSource::Reference(reference) => reference.clone(),
    };
    match work {
        Work::Checkout { depth: Some(depth), .. } => format!("depth {depth}"),
        Work::Checkout { depth: None, .. } => "full history".to_owned(),
        Work::Run(run) => format!("run in {}", run.image),
        Work::Build(build) => {
            let tags = if build.tags.is_empty() {
                String::new()
            } else {
                format!(" as {}", build.tags.join(", "))
            };
            format!("build {}{tags}", build.file)
        }
        Work::Push(push) => format!("push {} to {}", image(&push.image), push.tags.join(", ")),
        Work::Deploy(deploy) => {
            let units = if deploy.replicas == 1 { "unit" } else { "units" };
            let what = deploy.image.as_ref().map_or_else(String::new, |from| image(from) + " ");
            format!("deploy {what}to {}, {} {units}", deploy.environment, deploy.replicas)
        }
        Work::Approve(approve) => {
            format!("approved by {} of {}", approve.count, approve.by.join(", "))
        }
        Work::Trigger(trigger) => format!("starts `{}`", trigger.pipeline),
    }
}
