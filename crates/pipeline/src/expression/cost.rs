//! What an expression may cost.
//!
//! The expression language has no loops without an end, but its parser and its
//! evaluation go down the thread's stack once for each bracket and operator.
//! Whoever can push a file must not be able to end a server with it, so that is
//! bounded before anything is parsed. What an evaluation does is counted in steps
//! while it goes on (`evaluate`).

/// A bracket weighs four operators. A thread of 2 MiB bears half as much again,
/// also in a debug build.
const WEIGHT_LIMIT: usize = 32;
const BRACKET: usize = 4;

/// Macros such as `all` and `map` in one expression.
pub(super) const LOOP_LIMIT: usize = 2;

/// Returns why an expression is too expensive to look at.
pub(super) fn too_heavy(source: &str) -> Option<String> {
    let weight = weight(source);
    (weight > WEIGHT_LIMIT).then(|| {
        format!(
            "the expression is too deep: its brackets and operators weigh {weight}, the limit is \
             {WEIGHT_LIMIT} (a bracket in a bracket weighs {BRACKET}, an operator in a chain 1)"
        )
    })
}

/// The largest weight on the way to any part of the expression.
fn weight(source: &str) -> usize {
    // One entry per open bracket: the operators before this place at its level.
    let mut levels = vec![0_usize];
    let (mut total, mut most) = (0_usize, 0);
    let mut quote = None;
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
                continue;
            }
            (Some(open), _) => {
                if character == open {
                    quote = None;
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => {
                levels.push(0);
                total += BRACKET;
            }
            (None, ')' | ']' | '}') => {
                if levels.len() > 1 {
                    let operators = levels.pop().unwrap_or(0);
                    total -= operators + BRACKET;
                }
                // What is called or indexed stays below what follows it.
                total += 1;
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
            }
            // These are balanced by the parser, or separate what does not nest.
            (None, '&' | '|' | ',') => {
                if let Some(level) = levels.last_mut() {
                    total -= *level;
                    *level = 0;
                }
            }
            (None, '+' | '-' | '*' | '/' | '%' | '=' | '<' | '>' | '?' | ':' | '!' | '.') => {
                // `==`, `<=` and runs of `!` or `-` are one operator.
                while characters.peek().is_some_and(|next| "=!-".contains(*next)) {
                    characters.next();
                }
                total += 1;
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
            }
            _ => {}
        }
        most = most.max(total);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_light() {
        for source in [
            "git.branch == 'main' && (event.name == 'push' || event.name == 'tag')",
            "event.name == 'tag' ? 'prod' : default(params.target, 'staging')",
            "git.branch.startsWith('release/') ? slug(git.branch) : git.sha_short",
            "[1, 2, 3].all(x, x > 0) && ['((((((((((', 'a'].exists(x, x == git.branch)",
        ] {
            assert_eq!(too_heavy(source), None, "{source}: {}", weight(source));
        }
        let many = vec!["git.branch == 'x'"; 100].join(" || ");
        assert_eq!(too_heavy(&many), None);
    }

    #[test]
    fn depth_and_length_of_chains_weigh() {
        assert_eq!(weight("1"), 0);
        assert_eq!(weight("1 + 1 + 1"), 2);
        assert_eq!(weight("((1))"), 8);
        assert_eq!(weight("a == b && c == d"), 1);
        for source in
            ["(".repeat(9), "[".repeat(9), format!("1{}", "+1".repeat(33)), "x[0]".repeat(40)]
        {
            assert!(too_heavy(&source).is_some(), "{source}: {}", weight(&source));
        }
    }
}
