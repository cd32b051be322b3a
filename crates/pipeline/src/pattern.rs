//! Globs: `*`, `**`, `?`, `{a,b}`, and `!` in front to exclude.

use std::collections::HashMap;

use globset::{ErrorKind, GlobBuilder, GlobMatcher};

/// A glob that parses. It is compiled only when something is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// As it was written.
    pub(crate) text: String,
}

/// Why a text is not a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadPattern(pub(crate) String);

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let pattern = Self { text: text.to_owned() };
        if pattern.glob().is_empty() {
            return Err(BadPattern("a pattern cannot be empty".to_owned()));
        }
        if pattern.is_literal() {
            return Ok(pattern);
        }
        match builder(pattern.glob()).build() {
            Ok(_) => Ok(pattern),
            Err(error) => Err(BadPattern(in_words(error.kind()))),
        }
    }

    fn glob(&self) -> &str {
        self.text.strip_prefix('!').unwrap_or(&self.text)
    }

    fn excludes(&self) -> bool {
        self.text.starts_with('!')
    }

    /// Most patterns are names, and need no machine to be compared.
    fn is_literal(&self) -> bool {
        !self.glob().contains(['*', '?', '[', ']', '{', '}', '\\'])
    }
}

/// What is wrong with a glob, in words for people who do not write parsers.
fn in_words(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::UnclosedAlternates => "`{` is not closed".to_owned(),
        ErrorKind::UnopenedAlternates => "`}` closes nothing".to_owned(),
        ErrorKind::UnclosedClass => "`[` is not closed".to_owned(),
        ErrorKind::DanglingEscape => "`\\` at the end escapes nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Matches many patterns against one text, each of them once: a thousand stages
/// with the same condition compile it once.
#[derive(Debug)]
pub(crate) struct Matching<'a> {
    text: &'a str,
    known: HashMap<String, bool>,
}

impl<'a> Matching<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, known: HashMap::new() }
    }

    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }

    /// Whether one pattern matches and none excludes; exclusions alone exclude from all.
    pub(crate) fn any(&mut self, patterns: &[Pattern]) -> bool {
        let (excluding, including): (Vec<_>, Vec<_>) =
            patterns.iter().partition(|pattern| pattern.excludes());
        let included = including.is_empty() && !excluding.is_empty()
            || including.iter().any(|pattern| self.one(pattern));
        included && !excluding.iter().any(|pattern| self.one(pattern))
    }

    fn one(&mut self, pattern: &Pattern) -> bool {
        let glob = pattern.glob();
        if pattern.is_literal() {
            return glob == self.text;
        }
        if let Some(known) = self.known.get(glob) {
            return *known;
        }
        let matches = compiled(glob).is_some_and(|matcher| matcher.is_match(self.text));
        self.known.insert(glob.to_owned(), matches);
        matches
    }
}

/// Returns the first text that a list of patterns matches; each is compiled once.
pub(crate) fn first_match<'a>(
    patterns: &[Pattern],
    texts: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let machines: Vec<(bool, Option<GlobMatcher>)> =
        patterns.iter().map(|pattern| (pattern.excludes(), compiled(pattern.glob()))).collect();
    let only_excludes = !machines.is_empty() && machines.iter().all(|(excludes, _)| *excludes);
    let matches = |machine: &Option<GlobMatcher>, text: &str| {
        machine.as_ref().is_some_and(|machine| machine.is_match(text))
    };
    texts.into_iter().find(|text| {
        let mut included = only_excludes;
        for (excludes, machine) in &machines {
            if matches(machine, text) {
                if *excludes {
                    return false;
                }
                included = true;
            }
        }
        included
    })
}

/// Whether one of many texts matches; each pattern is compiled once.
pub(crate) fn some_match(patterns: &[Pattern], texts: &[String]) -> bool {
    let machines: Vec<(bool, Option<GlobMatcher>)> =
        patterns.iter().map(|pattern| (pattern.excludes(), compiled(pattern.glob()))).collect();
    let any = |text: &str, excluding: bool| {
        let mut those = machines.iter().filter(|(excludes, _)| *excludes == excluding);
        those.any(|(_, machine)| machine.as_ref().is_some_and(|machine| machine.is_match(text)))
    };
    let only_exclusions = !machines.is_empty() && machines.iter().all(|(excludes, _)| *excludes);
    texts.iter().any(|text| (only_exclusions || any(text, false)) && !any(text, true))
}

/// Patterns of a stage that choose files of its workspace, compiled once.
#[derive(Clone, Debug)]
pub struct FilePatterns {
    texts: Vec<String>,
    machines: Vec<(bool, Option<GlobMatcher>)>,
}

impl FilePatterns {
    /// The patterns of a plan; they were found to be patterns when the file was checked.
    pub fn new(texts: &[String]) -> Self {
        let glob = |text: &String| text.strip_prefix('!').unwrap_or(text).to_owned();
        let machines =
            texts.iter().map(|text| (text.starts_with('!'), compiled(&glob(text)))).collect();
        Self { texts: texts.to_owned(), machines }
    }

    /// Returns the positions in `paths` of those that a pattern matches and none excludes,
    /// and the patterns that match none of `paths`.
    pub fn choose<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> (Vec<usize>, Vec<String>) {
        let mut matched = vec![false; self.machines.len()];
        let only_excludes = self.machines.iter().all(|(excludes, _)| *excludes);
        let mut chosen = Vec::new();
        for (position, path) in paths.into_iter().enumerate() {
            let (mut included, mut excluded) = (only_excludes, false);
            for ((excludes, machine), matched) in self.machines.iter().zip(&mut matched) {
                if machine.as_ref().is_some_and(|machine| machine.is_match(path)) {
                    *matched = true;
                    *if *excludes { &mut excluded } else { &mut included } = true;
                }
            }
            if included && !excluded {
                chosen.push(position);
            }
        }
        let unmatched = self.machines.iter().zip(&matched).zip(&self.texts);
        let unmatched = unmatched.filter(|(((excludes, _), matched), _)| !excludes && !**matched);
        (chosen, unmatched.map(|(_, text)| text.clone()).collect())
    }
}

fn builder(glob: &str) -> GlobBuilder<'_> {
    let mut builder = GlobBuilder::new(glob);
    // `release/*` is not `release/1/hotfix`; `release/**` is.
    builder.literal_separator(true).backslash_escape(true);
    builder
}

fn compiled(glob: &str) -> Option<GlobMatcher> {
    builder(glob).build().ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(patterns: &[&str], text: &str) -> bool {
        let patterns: Vec<_> =
            patterns.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
        Matching::new(text).any(&patterns)
    }

    #[test]
    fn a_star_ends_at_a_slash_and_two_stars_do_not() {
        assert!(matches(&["main"], "main"));
        assert!(!matches(&["main"], "mainline"));
        assert!(matches(&["release/*"], "release/1.4"));
        assert!(!matches(&["release/*"], "release/1/hotfix"));
        assert!(matches(&["release/**"], "release/1/hotfix"));
        assert!(matches(&["v?.{1,2}"], "v1.2"));
    }

    #[test]
    fn an_exclamation_mark_excludes() {
        assert!(!matches(&["release/*", "!release/old"], "release/old"));
        assert!(matches(&["release/*", "!release/old"], "release/new"));
        assert!(matches(&["!main"], "topic"));
        assert!(!matches(&["!main"], "main"));
        assert!(!matches(&[], "main"));
    }

    #[test]
    fn the_first_path_that_matches_is_found_as_one_text_is() {
        let lists: [&[&str]; 5] = [&["src/**"], &["**", "!docs/**"], &["!docs/**"], &[], &["a.c"]];
        let paths = ["docs/a.md", "README.md", "src/deep/a.c", "a.c"];
        for list in lists {
            let patterns: Vec<_> = list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let one_by_one = paths.iter().copied().find(|path| matches(list, path));
            assert_eq!(first_match(&patterns, paths), one_by_one, "{list:?}");
        }
    }

    #[test]
    fn files_are_chosen_and_patterns_that_match_nothing_are_told() {
        let choose = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            FilePatterns::new(&texts).choose(["a.xml", "d/TEST-b.xml", "d/e/TEST-c.xml"])
        };
        assert_eq!(choose(&["**/TEST-*.xml"]), (vec![1, 2], vec![]));
        assert_eq!(choose(&["*.xml", "*.txt"]), (vec![0], vec!["*.txt".to_owned()]));
        assert_eq!(choose(&["**", "!d/e/**", "!no"]), (vec![0, 1], vec![]));
        assert_eq!(choose(&["!d/**"]), (vec![0], vec![]));
    }

    #[test]
    fn what_is_not_a_glob_is_refused() {
        for text in ["", "!", "{a", "a[", "[z-a]"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
