//! W026: what the digest of `inputs` does not know.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Stage;
use crate::pattern::{Matching, Pattern};
use crate::plan::Work;
use crate::yaml::Node;

/// Programs whose first argument is a script.
const INTERPRETERS: &[&str] =
    &["sh", "bash", "python", "python3", "node", "perl", "ruby", "php", "source", "."];

pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    for stage in lint.stages {
        let Some(inputs) = stage.key("inputs") else { continue };
        let services = stage.key("services").or_else(|| lint.defaults.get("services"));
        if let (Work::Run(_), Some(services)) = (&stage.body.work, services) {
            let message = format!(
                "stage `{}` is skipped when its `inputs` are unchanged, and what its services hold \
                 is no part of that",
                stage.name
            );
            found.push(
                Diagnostic::warning(Code::W026, message)
                    .at(lint.sources.place(inputs.span))
                    .label("remove `inputs`, or the services")
                    .related("the services", lint.sources.place(services.span)),
            );
        }
        found.extend(missing_scripts(lint, stage, inputs));
    }
}

/// Files of the workspace that the script starts and the inputs do not match.
fn missing_scripts(lint: &Lint<'_>, stage: &Stage, inputs: &Node) -> Option<Diagnostic> {
    let patterns: Vec<Pattern> =
        stage.body.inputs.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    let Work::Run(run) = &stage.body.work else { return None };
    let scripts = run.run.iter().flat_map(|command| scripts(command));
    let mut missing: Vec<&str> =
        scripts.filter(|script| !Matching::new(script).any(&patterns)).collect();
    missing.sort_unstable();
    missing.dedup();
    let first = *missing.first()?;
    let all = crate::suggest::quoted(missing.iter().copied());
    let message = format!(
        "stage `{}` is skipped when its `inputs` are unchanged, and {all} can change without that",
        stage.name
    );
    Some(
        Diagnostic::warning(Code::W026, message)
            .at(lint.sources.place(inputs.span))
            .label(format!("add `{first}`")),
    )
}

/// Relative paths that a command starts: `./ci/test.sh`, `sh ci/test.sh`.
fn scripts(command: &str) -> Vec<&str> {
    let mut scripts = Vec::new();
    for line in command.lines() {
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        for part in line.split([';', '&', '|', '(', ')']) {
            let mut words = part.split_whitespace().skip_while(|word| word.contains('='));
            let Some(first) = words.next() else { continue };
            let word = if INTERPRETERS.contains(&first) {
                words.find(|word| !word.starts_with('-')).filter(|word| word.contains(['/', '.']))
            } else {
                first.starts_with("./").then_some(first)
            };
            let plain = |word: &&str| {
                !word.contains(['$', '*', '"', '\'', '`', '<', '>']) && !word.starts_with('/')
            };
            scripts.extend(word.filter(plain).map(|word| word.trim_start_matches("./")));
        }
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::scripts;

    #[test]
    fn a_script_is_what_is_started_from_the_workspace() {
        assert_eq!(scripts("./ci/test.sh --all"), ["ci/test.sh"]);
        assert_eq!(scripts("set -e\nTZ=UTC bash -x ci/a.sh && python3 b.py"), ["ci/a.sh", "b.py"]);
        for command in
            ["make test", "sh -c 'echo hi'", "/usr/bin/true", "./$NAME", "# ./a", "cat a.txt"]
        {
            assert_eq!(scripts(command), Vec::<&str>::new(), "{command}");
        }
    }
}
