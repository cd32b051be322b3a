//! What HAProxy answers, as far as it is needed. Columns are found by their titles, since
//! versions differ in them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::switch::Member;

/// Bits of the administrative state: put into maintenance by somebody, by a server it
/// follows, or since its name has no address.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20 | 0x40;
const DRAIN: u32 = 0x08 | 0x10;

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Its backend's number: a frontend may have the same name.
    pub(super) backend: u32,
    pub(super) name: String,
    address: Option<SocketAddr>,
    state: u32,
    weight: u32,
    /// As its configuration has it.
    weight_at_first: u32,
}

impl Server {
    /// Whether somebody keeps requests from it.
    pub(super) const fn is_out(&self) -> bool {
        self.state & (MAINTENANCE | DRAIN) != 0
    }

    pub(super) const fn is_in_maintenance(&self) -> bool {
        self.state & MAINTENANCE != 0
    }

    /// Its share in percent of what it had at first.
    pub(super) fn share(&self) -> u32 {
        let whole = self.weight_at_first.max(1);
        // A half is nearer to the whole above.
        (self.weight * 100 + whole / 2) / whole
    }
}

/// Reads `show servers state BACKEND`; `None` if there is no such backend.
pub(super) fn servers(said: &str) -> Option<Vec<Server>> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    // The version of the format.
    lines.next()?.parse::<u32>().ok()?;
    let titles: Vec<&str> = lines.next()?.strip_prefix('#')?.split_whitespace().collect();
    let server = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let cell =
            |title: &str| cells.get(titles.iter().position(|other| *other == title)?).copied();
        let number = |title: &str| cell(title)?.parse::<u32>().ok();
        let ip: Option<IpAddr> = cell("srv_addr").and_then(|ip| ip.parse().ok());
        let port = cell("srv_port").and_then(|port| port.parse().ok());
        Some(Server {
            backend: number("be_id")?,
            name: cell("srv_name")?.to_owned(),
            address: ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port)),
            state: number("srv_admin_state")?,
            weight: number("srv_uweight")?,
            weight_at_first: number("srv_iweight")?,
        })
    };
    Some(lines.filter(|line| !line.starts_with('#')).filter_map(server).collect())
}

/// Finds the server of a unit by its address, else by the name of its place.
pub(super) fn find<'s>(servers: &'s [Server], member: &Member) -> Result<&'s Server, String> {
    let named = servers.iter().find(|server| server.name == member.name);
    let there: Vec<_> =
        servers.iter().filter(|server| server.address == Some(member.address)).collect();
    match (there.as_slice(), named) {
        ([one], _) => Ok(*one),
        ([], Some(named)) => Ok(named),
        ([], None) => {
            let Member { name, address, .. } = member;
            Err(format!("there is no server with the address {address} or the name `{name}`"))
        }
        (several, Some(named)) if several.contains(&named) => Ok(named),
        (several, _) => {
            let names: Vec<_> = several.iter().map(|server| format!("`{}`", server.name)).collect();
            Err(format!("{} have the address {}", names.join(", "), member.address))
        }
    }
}

/// How a server fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) sessions: u64,
    status: String,
    check: String,
    pub(super) has_cookie: bool,
}

impl Standing {
    /// Whether requests go to it. One that is checked by nobody is as good as it says.
    pub(super) fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check"
    }

    /// Whether its health is checked: nobody else says how the last check went.
    pub(super) fn is_checked(&self) -> bool {
        !self.check.is_empty() && self.status != "no check"
    }

    pub(super) fn words(&self) -> String {
        match self.check.is_empty() {
            true => format!("is {}", self.status),
            false => format!("is {} ({})", self.status, self.check),
        }
    }
}

/// Reads one server out of `show stat`.
pub(super) fn standing(said: &str, server: &str) -> Option<Standing> {
    let mut lines = said.lines();
    let titles = cells(lines.find(|line| line.starts_with('#'))?.trim_start_matches(['#', ' ']));
    let at = |title: &str| titles.iter().position(|other| other == title);
    let name = at("svname")?;
    let row = lines.map(cells).find(|row| row.get(name).is_some_and(|cell| cell == server))?;
    let cell = |title: &str| at(title).and_then(|at| row.get(at)).cloned().unwrap_or_default();
    Some(Standing {
        sessions: cell("scur").parse().ok()?,
        status: cell("status"),
        check: cell("check_status").trim_start_matches("* ").to_owned(),
        has_cookie: !cell("cookie").is_empty(),
    })
}

/// The cells of a line, some of which are in quotes.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    cells.push(cell);
    cells
}

/// Which process answers, and for how long it has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) pid: u32,
    pub(super) uptime: Duration,
}

impl Info {
    /// Reads `show info`.
    pub(super) fn read(said: &str) -> Option<Self> {
        let number = |title: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| *name == title)?.1.trim().parse::<u32>().ok()
        };
        let uptime = Duration::from_secs(number("Uptime_sec")?.into());
        Some(Self { pid: number("Pid")?, uptime })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnitId;

    const STATE: &str = "1\n\
        # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n\
        3 web 1 web-1 10.0.0.1 2 0 50 100 12 6 3 4 6 0 0 0 - 80 -\n\
        3 web 2 web-2 10.0.0.2 2 8 1 1 12 6 3 4 6 0 0 0 - 80 -\n\
        3 web 3 lb 10.0.0.2 2 1 1 1 12 6 3 4 6 0 0 0 - 80 -\n\
        3 web 4 far 192.168.0.4 2 4 1 1 12 6 3 4 6 0 0 0 - 80 -\n\n";

    fn member(name: &str, address: &str) -> Member {
        let unit = UnitId("u".to_owned());
        Member { unit, address: address.parse().unwrap(), name: name.to_owned() }
    }

    #[test]
    fn servers_are_read_with_what_keeps_requests_from_them() {
        let servers = servers(STATE).unwrap();
        let out: Vec<_> = servers.iter().map(Server::is_out).collect();
        // What its configuration once said keeps nobody out.
        assert_eq!(out, [false, true, true, false]);
        assert!(!servers[1].is_in_maintenance() && servers[2].is_in_maintenance());
        assert_eq!((servers[0].share(), servers[1].share()), (50, 100));
        assert_eq!(super::servers("Can't find backend.\n\n"), None);
    }

    #[test]
    fn a_server_is_found_by_its_address_and_else_by_its_name() {
        let servers = servers(STATE).unwrap();
        let name = |name: &str, address: &str| {
            find(&servers, &member(name, address)).map(|server| server.name.clone())
        };
        assert_eq!(name("other", "10.0.0.1:80").unwrap(), "web-1");
        assert_eq!(name("far", "10.0.0.9:80").unwrap(), "far");
        // Of two with one address its name decides.
        assert_eq!(name("lb", "10.0.0.2:80").unwrap(), "lb");
        assert_eq!(
            name("web-9", "10.0.0.2:80").unwrap_err(),
            "`web-2`, `lb` have the address 10.0.0.2:80"
        );
        assert!(name("web-9", "10.0.0.1:81").unwrap_err().contains("or the name `web-9`"));
    }

    #[test]
    fn a_standing_has_its_sessions_and_what_checks_say() {
        let said = "# pxname,svname,scur,status,check_status,last_chk,cookie,\n\
            web,web-1,3,UP 2/3,L7OK,\"OK, fine\",,\n\
            web,web-2,0,no check,,,w2,\n\
            web,web-3,0,DOWN,* L4CON,,,\n";
        let one = standing(said, "web-1").unwrap();
        assert_eq!((one.sessions, one.is_up(), one.is_checked()), (3, true, true));
        let two = standing(said, "web-2").unwrap();
        assert!(two.is_up() && !two.is_checked() && two.has_cookie);
        let three = standing(said, "web-3").unwrap();
        assert_eq!((three.is_up(), three.words()), (false, "is DOWN (L4CON)".to_owned()));
        assert_eq!(standing(said, "web-4"), None);
    }

    #[test]
    fn a_process_says_which_it_is_and_for_how_long() {
        let said = "Name: HAProxy\nPid: 4711\nUptime: 0d 0h00m07s\nUptime_sec: 7\n";
        assert_eq!(Info::read(said), Some(Info { pid: 4711, uptime: Duration::from_secs(7) }));
        assert_eq!(Info::read("nothing"), None);
    }
}
