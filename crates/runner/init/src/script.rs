//! The script that the shell of a stage reads.
//!
//! The commands run in one shell, so that `cd` and variables last. Before each,
//! the shell stops itself; PID 1 sees that, passes on what was written until
//! then, says which command begins, and lets the shell go on. What a command
//! prints cannot imitate this, and its place in the output is exact.
//!
//! Each command is its own `eval`: an unbalanced quote or a half `if` fails
//! there and does not swallow the commands after it.

/// Returns the script; `descriptor` is the file it is read from, closed first
/// so that no command inherits it.
pub(crate) fn script(commands: &[String], descriptor: i32) -> String {
    let mut script = format!("exec {descriptor}<&-\n");
    for command in commands {
        script.push_str("command kill -STOP $$\neval ");
        script.push_str(&quoted(command));
        script.push('\n');
    }
    script
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_announced_and_evaluated_by_itself() {
        let commands = ["cd web".to_owned(), "echo 'it''s'\nmake".to_owned()];
        assert_eq!(
            script(&commands, 3),
            "exec 3<&-\n\
             command kill -STOP $$\neval 'cd web'\n\
             command kill -STOP $$\neval 'echo '\\''it'\\'''\\''s'\\''\nmake'\n"
        );
    }
}
