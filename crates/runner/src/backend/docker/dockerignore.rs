//! `.dockerignore`: which files of a context are left out, as Docker has it.
//!
//! The last pattern that matches a path or one of its parents decides; `!` takes
//! back. Patterns are relative to the context; `*` and `?` stay within a name, `**`
//! crosses, `[…]` is one of some characters, and braces are braces.

use regex::Regex;

#[derive(Debug, Default)]
pub(super) struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    matcher: Regex,
    takes_back: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("line {line} of .dockerignore is not a pattern: {why}")]
pub(super) struct PatternError {
    pub(super) line: usize,
    why: &'static str,
}

impl DockerIgnore {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            // A comment begins in the first column; elsewhere `#` is a character.
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            let wrong = |why| PatternError { line: index + 1, why };
            let matcher = expression(&pattern).map_err(wrong)?;
            let matcher =
                Regex::new(&matcher).map_err(|_| wrong("its `[…]` is no set of characters"))?;
            patterns.push(Pattern { matcher, takes_back });
        }
        Ok(Self { patterns })
    }

    /// Says whether a path, relative to the context, is left out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for pattern in &self.patterns {
            if pattern.takes_back == out && pattern.matches(path) {
                out = !pattern.takes_back;
            }
        }
        out
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.chain([path]).any(|path| self.matcher.is_match(path))
    }
}

/// The pattern as a regular expression over a whole path.
fn expression(pattern: &str) -> Result<String, &'static str> {
    let mut expression = "^".to_owned();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // More stars are two.
                while rest.next_if_eq(&'*').is_some() {}
                rest.next_if_eq(&'/');
                expression.push_str(if rest.peek().is_none() { ".*" } else { "(?:.*/)?" });
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => match rest.next() {
                Some(letter) => {
                    expression.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
                }
                None => return Err("it ends in a backslash"),
            },
            '[' => {
                let mut set = String::new();
                loop {
                    match rest.next() {
                        None => return Err("a `[` is not closed"),
                        Some(']') if !set.is_empty() && set != "^" => break,
                        // Sets of sets are no matter of `.dockerignore`.
                        Some(letter @ ('[' | '&' | '~')) => set.extend(['\\', letter]),
                        Some('\\') => set.extend(['\\', rest.next().unwrap_or('\\')]),
                        Some(letter) => set.push(letter),
                    }
                }
                expression.push_str(&format!("[{set}]"));
            }
            letter => expression.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    Ok(expression)
}

/// Makes `/a/./b/` into `a/b`; a pattern that leads out matches nothing.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &str, out: &[&str], inside: &[&str]) {
        let ignore = DockerIgnore::parse(patterns).unwrap();
        for path in out {
            assert!(ignore.leaves_out(path), "{path} is left out by {patterns:?}");
        }
        for path in inside {
            assert!(!ignore.leaves_out(path), "{path} stays with {patterns:?}");
        }
    }

    #[test]
    fn a_pattern_is_relative_to_the_context_and_takes_what_is_below() {
        check(
            "node_modules\n/dist/",
            &["node_modules/a/b", "dist", "dist/x"],
            &["web/node_modules/a"],
        );
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_cross() {
        check("*.log", &["a.log"], &["d/a.log"]);
        check("*/*.log", &["d/a.log"], &["a.log", "d/e/a.log"]);
        check("**/*.log", &["a.log", "d/e/a.log"], &["a.txt"]);
        check("a/**/b", &["a/b", "a/x/y/b"], &["a/x"]);
        check("?.c", &["a.c"], &["ab.c"]);
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("*\n!src", &["Makefile", "docs/a"], &["src/main.c"]);
        check("!a\na", &["a"], &[]);
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        check("# all\n\n  \n.git\n", &[".git/config"], &["# all", "a"]);
    }

    #[test]
    fn a_bad_pattern_is_told_with_its_line() {
        let error = DockerIgnore::parse("a\n[").unwrap_err();
        assert!(error.to_string().starts_with("line 2 of .dockerignore"), "{error}");
    }
}
