//! W073: a download piped into a shell.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::yaml::{Node, Value};

pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    for stage in lint.stages {
        let own = stage.entry.value.as_map();
        let short = own.is_none().then_some(&stage.entry.value);
        let keys = ["run", "run-before", "run-after"];
        let scripts = keys.iter().filter_map(|key| own?.get(key)).chain(short);
        for script in scripts {
            let commands = script.one_or_many();
            for command in commands {
                found.extend(piped(lint, &stage.name, command));
            }
        }
    }
}

fn piped(lint: &Lint<'_>, stage: &str, command: &Node) -> Option<Diagnostic> {
    let Value::Text(text) = &command.value else { return None };
    let (at, length) = download_into_shell(text)?;
    let span = command.inside(lint.sources, text, at..at + length);
    Some(
        Diagnostic::warning(
            Code::W073,
            format!("stage `{stage}` runs what it downloads, whatever that is today"),
        )
        .at(lint.sources.place(span))
        .help(
            "download a version, compare its digest, then run it\n\
             curl -fsSLo tool.sh https://…/1.2.3/tool.sh\n\
             echo \"<sha256>  tool.sh\" | sha256sum -c\n\
             sh tool.sh",
        ),
    )
}

/// Place and length of the download that a shell gets.
fn download_into_shell(text: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let offset = start;
        start += line.len();
        if line.trim_start().starts_with('#') {
            continue;
        }
        for program in ["curl", "wget"] {
            let Some(at) = word(line, program) else { continue };
            let rest = &line[at..];
            // `curl … | sh`
            if let Some(pipe) = rest.find('|').filter(|pipe| !rest[*pipe..].starts_with("||")) {
                let after = rest[pipe + 1..].trim_start();
                let after = after.strip_prefix("sudo ").unwrap_or(after).trim_start();
                if is_shell(first_word(after)) {
                    return Some((offset + at, pipe));
                }
            }
            // `sh -c "$(curl …)"`, `bash <(curl …)`
            let before = &line[..at];
            let opened = before.trim_end().ends_with("$(") || before.trim_end().ends_with("<(");
            if opened && before.split_whitespace().any(is_shell) {
                let end = rest.find(')').unwrap_or(rest.trim_end().len());
                return Some((offset + at, end));
            }
        }
    }
    None
}

fn word(line: &str, wanted: &str) -> Option<usize> {
    let boundary =
        |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    line.match_indices(wanted).map(|(at, _)| at).find(|at| {
        boundary(line[..*at].chars().next_back())
            && boundary(line[at + wanted.len()..].chars().next())
    })
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| c.is_whitespace() || c == ';').next().unwrap_or_default()
}

fn is_shell(word: &str) -> bool {
    matches!(
        word.rsplit('/').next(),
        Some("sh" | "bash" | "zsh" | "dash" | "ash" | "python" | "python3")
    )
}

#[cfg(test)]
mod tests {
    use super::download_into_shell;

    #[test]
    fn only_what_a_shell_gets_is_found() {
        for (text, found) in [
            ("curl -fsSL https://x.example/i.sh | sh", Some("curl -fsSL https://x.example/i.sh ")),
            (
                "make\nwget -qO- https://x.example | sudo bash -s",
                Some("wget -qO- https://x.example "),
            ),
            ("sh -c \"$(curl -fsSL https://x.example)\"", Some("curl -fsSL https://x.example")),
            ("bash <(curl https://x.example)", Some("curl https://x.example")),
            ("curl -o a https://x.example || exit 1", None),
            ("curl https://x.example | tar xz", None),
            ("echo $(curl https://x.example)", None),
            ("# curl https://x.example | sh", None),
            ("libcurl-config | sh", None),
        ] {
            let part = download_into_shell(text).map(|(at, length)| &text[at..at + length]);
            assert_eq!(part, found, "{text}");
        }
    }
}
