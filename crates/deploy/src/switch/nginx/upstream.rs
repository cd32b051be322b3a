//! The servers of an upstream of nginx, line by line.

use crate::UnitId;
use crate::switch::file::Title;
use crate::switch::{FULL, Member};

/// An upstream must have a server, and one where nobody is must not be asked.
pub(super) const NOBODY: &str = "server 127.0.0.1:9 down;";
const ABOUT: &str = "# Written by Shipline: what has a `# unit` behind it is one of its units.";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Upstream {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Server(Server),
    /// Whatever else was there.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    address: String,
    /// The unit that answers there; nobody knows where somebody else wrote the line.
    unit: Option<UnitId>,
    down: bool,
    /// In percent, once the file is ours.
    weight: u32,
    /// `max_fails=2` and the like.
    rest: Vec<String>,
}

impl Upstream {
    pub(super) fn read(text: &str) -> Self {
        let is_ours = Title::read(text).is_some();
        let line = |line: &str| match Server::read(line) {
            Some(mut server) => {
                // A whole share of somebody else's line is one.
                let whole = if is_ours { 1 } else { FULL };
                server.weight = server.weight.saturating_mul(whole);
                Line::Server(server)
            }
            None => Line::Other(line.to_owned()),
        };
        let own = |line: &&str| !line.starts_with("# shipline ") && *line != ABOUT;
        let mut upstream = Self { lines: text.lines().filter(own).map(line).collect() };
        upstream.lines.retain(|line| !matches!(line, Line::Server(it) if it.is_nobody()));
        upstream
    }

    pub(super) fn text(&self, title: &Title) -> String {
        let mut text = format!("{}{ABOUT}\n", title.line());
        for line in &self.lines {
            match line {
                Line::Server(server) => text += &server.text(),
                Line::Other(other) => text += &format!("{other}\n"),
            }
        }
        if self.is_nobody() {
            text += &format!("{NOBODY}\n");
        }
        text
    }

    /// Whether there is no server at all.
    pub(super) fn is_nobody(&self) -> bool {
        !self.lines.iter().any(|line| matches!(line, Line::Server(_)))
    }

    /// Whether a unit, or whoever else is at its address, may get requests.
    pub(super) fn serves(&self, member: &Member) -> bool {
        self.servers().any(|server| {
            let is_its = server.unit.as_ref().is_none_or(|unit| *unit == member.unit);
            server.is_at(member) && is_its && !server.down
        })
    }

    pub(super) fn knows(&self, member: &Member) -> bool {
        self.servers().any(|server| server.is_at(member))
    }

    /// Whether anybody at its address may get requests.
    pub(super) fn leads_to(&self, member: &Member) -> bool {
        self.servers().any(|server| server.is_at(member) && !server.down)
    }

    pub(super) fn take_down(&mut self, member: &Member) {
        for server in self.servers_mut().filter(|server| server.is_at(member)) {
            server.down = true;
        }
    }

    /// Lets requests go to a unit, and no longer to the one it replaces. Lines of units that
    /// are down since an earlier change are of no use any more.
    pub(super) fn bring_up(&mut self, member: &Member, replaces: Option<&UnitId>) {
        self.lines.retain(|line| match line {
            Line::Server(server) => {
                let is_former = server.down && server.unit.is_some();
                !is_former || server.is_at(member) || server.unit.as_ref() == replaces
            }
            Line::Other(_) => true,
        });
        let replaced = |server: &&mut Server| {
            replaces.is_some() && server.unit.as_ref() == replaces && !server.is_at(member)
        };
        for server in self.servers_mut().filter(replaced) {
            server.down = true;
        }
        let mut known = false;
        for server in self.servers_mut().filter(|server| server.is_at(member)) {
            (server.down, known) = (false, true);
            server.unit = Some(member.unit.clone());
        }
        if !known {
            self.lines.push(Line::Server(Server {
                address: member.address.to_string(),
                unit: Some(member.unit.clone()),
                down: false,
                weight: FULL,
                rest: Vec::new(),
            }));
        }
    }

    /// Lets requests go again to whoever is at an address, who is no unit any more.
    pub(super) fn give_back(&mut self, member: &Member) {
        for server in self.servers_mut().filter(|server| server.is_at(member)) {
            (server.down, server.unit) = (false, None);
        }
    }

    pub(super) fn weigh(&mut self, member: &Member, percent: u32) {
        let its = |server: &&mut Server| {
            server.is_at(member) && server.unit.as_ref() == Some(&member.unit)
        };
        for server in self.servers_mut().filter(its) {
            server.weight = percent;
        }
    }

    /// Takes all units out, and leaves what somebody else wrote.
    pub(super) fn forget(&mut self) {
        self.lines.retain(|line| !matches!(line, Line::Server(server) if server.unit.is_some()));
    }

    fn servers(&self) -> impl Iterator<Item = &Server> {
        self.lines.iter().filter_map(|line| match line {
            Line::Server(server) => Some(server),
            Line::Other(_) => None,
        })
    }

    fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Server(server) => Some(server),
            Line::Other(_) => None,
        })
    }
}

impl Server {
    fn read(line: &str) -> Option<Self> {
        let (rule, comment) = line.split_once(';')?;
        let mut words = rule.trim().strip_prefix("server ")?.split_whitespace();
        let address = words.next()?.to_owned();
        let unit = comment.trim().strip_prefix("# unit ");
        let unit = unit.map(|unit| UnitId(unit.trim().to_owned()));
        let mut server = Self { address, unit, down: false, weight: 1, rest: Vec::new() };
        for word in words {
            match word.strip_prefix("weight=").and_then(|weight| weight.parse().ok()) {
                Some(weight) => server.weight = weight,
                None if word == "down" => server.down = true,
                None => server.rest.push(word.to_owned()),
            }
        }
        Some(server)
    }

    fn is_nobody(&self) -> bool {
        self.down && self.unit.is_none() && self.address == "127.0.0.1:9"
    }

    fn is_at(&self, member: &Member) -> bool {
        let (at, port) = (member.address, member.address.port());
        self.address == at.to_string()
            || self.address == format!("{}:{port}", member.name)
            || port == 80 && (self.address == at.ip().to_string() || self.address == member.name)
    }

    fn text(&self) -> String {
        let Self { address, unit, down, weight, rest } = self;
        let rest: String = rest.iter().map(|word| format!(" {word}")).collect();
        let down = if *down { " down" } else { "" };
        let unit = unit.as_ref().map(|unit| format!(" # unit {unit}")).unwrap_or_default();
        format!("server {address} weight={weight}{rest}{down};{unit}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(unit: &str, address: &str) -> Member {
        let address = address.parse().unwrap();
        Member { unit: UnitId(unit.to_owned()), address, name: "web-1".to_owned() }
    }

    fn title() -> Title {
        Title { environment: "web/prod".to_owned(), fence: 7 }
    }

    fn lines(upstream: &Upstream) -> Vec<String> {
        upstream.text(&title()).lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn what_somebody_else_wrote_is_taken_over() {
        let text =
            "# mine\nserver web-1 max_fails=2;\nserver 10.0.0.2:80 weight=3;\nkeepalive 8;\n";
        let mut upstream = Upstream::read(text);
        assert!(upstream.serves(&member("a", "10.0.0.1:80")));
        upstream.take_down(&member("a", "10.0.0.1:80"));
        let after = [
            "# mine",
            "server web-1 weight=100 max_fails=2 down;",
            "server 10.0.0.2:80 weight=300;",
            "keepalive 8;",
        ];
        assert_eq!(lines(&upstream), after);
        // Read again, nothing has another weight.
        let again = Upstream::read(&upstream.text(&title()));
        assert_eq!(again, upstream);
        upstream.bring_up(&member("a", "10.0.0.1:80"), None);
        assert_eq!(lines(&upstream)[1], "server web-1 weight=100 max_fails=2; # unit a");
        let mut gone = upstream.clone();
        gone.forget();
        assert_eq!(lines(&gone), [after[0], after[2], after[3]]);
        upstream.take_down(&member("a", "10.0.0.1:80"));
        upstream.give_back(&member("a", "10.0.0.1:80"));
        assert_eq!(lines(&upstream)[1], "server web-1 weight=100 max_fails=2;");
    }

    #[test]
    fn units_take_over_from_each_other_in_one_change() {
        let (old, new, next) =
            (member("a", "10.0.0.5:80"), member("b", "10.0.0.6:80"), member("c", "10.0.0.7:80"));
        let mut upstream = Upstream::read(NOBODY);
        assert!(upstream.is_nobody());
        upstream.bring_up(&old, None);
        upstream.bring_up(&new, Some(&old.unit));
        assert!(!upstream.serves(&old) && upstream.serves(&new));
        let both = [
            "server 10.0.0.5:80 weight=100 down; # unit a",
            "server 10.0.0.6:80 weight=100; # unit b",
        ];
        assert_eq!(lines(&upstream), both);
        upstream.bring_up(&next, Some(&new.unit));
        assert_eq!(lines(&upstream).len(), 2, "{upstream:?}");
        upstream.weigh(&next, 25);
        assert_eq!(lines(&upstream)[1], "server 10.0.0.7:80 weight=25; # unit c");
        upstream.forget();
        assert_eq!(lines(&upstream), [NOBODY]);
    }

    #[test]
    fn an_address_of_another_unit_is_not_that_of_this_one() {
        let mut upstream = Upstream::default();
        upstream.bring_up(&member("new", "10.0.0.1:80"), None);
        // Two units of one host have one address.
        assert!(!upstream.serves(&member("old", "10.0.0.1:80")));
        assert!(upstream.knows(&member("old", "10.0.0.1:80")));
    }
}
