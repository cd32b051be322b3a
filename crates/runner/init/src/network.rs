//! The network of a sandbox: its interfaces, taken into a fresh namespace.
//!
//! What a stage can leave in a namespace - connections, sockets that wait, what the kernel
//! remembers of neighbours - stays behind in the old one and ends with it. The interface
//! is the engine's; it keeps its name and its address.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::netlink::{Kernel, Message, attribute, number};
use crate::system;

const CURRENT: &str = "/proc/self/ns/net";
const SETTINGS: &str = "/proc/sys/net";
/// What engines set in the namespaces they make.
const SET: [&str; 5] = [
    "ipv4/ip_unprivileged_port_start",
    "ipv4/ping_group_range",
    "ipv6/conf/all/disable_ipv6",
    "ipv6/conf/default/disable_ipv6",
    "ipv6/conf/lo/disable_ipv6",
];
/// How long the structures are that attributes stand behind.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;
const LOOPBACK: u32 = 1;
const NEW: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
const UP: u32 = libc::IFF_UP as u32;

/// Returns the inode of the namespace this process is in.
pub(crate) fn current() -> io::Result<u64> {
    fs::metadata(CURRENT).map(|found| found.ino())
}

/// What the engine made of the network of this container.
pub(crate) struct Network {
    kernel: Kernel,
    interfaces: Vec<Interface>,
    settings: Vec<(&'static str, String)>,
}

/// All that is needed to set it up again.
struct Interface {
    name: Vec<u8>,
    /// Here; elsewhere it may have another one.
    index: u32,
    addresses: Vec<Vec<u8>>,
    routes: Vec<Vec<u8>>,
    /// The setting of its own that an engine makes.
    without_v6: Option<String>,
}

impl Network {
    /// Looks at the namespace this process is in.
    pub(crate) fn read() -> io::Result<Self> {
        let mut kernel = Kernel::open()?;
        let addresses = kernel.ask(&Message::list(libc::RTM_GETADDR, ADDRESS))?;
        let routes = kernel.ask(&Message::list(libc::RTM_GETROUTE, ROUTE))?;
        let links = kernel.ask(&Message::list(libc::RTM_GETLINK, LINK))?;
        let interfaces = links.iter().filter_map(|link| {
            let index = number(link, 4).filter(|index| *index != LOOPBACK)?;
            let name = attribute(link, LINK, libc::IFLA_IFNAME)?.to_vec();
            let of = |address: &&Vec<u8>| {
                number(address, 4) == Some(index) && address[3] != libc::RT_SCOPE_LINK
            };
            let addresses: Vec<_> = addresses.iter().filter(of).cloned().collect();
            // The kernel puts tunnels that nobody uses into every namespace.
            if addresses.is_empty() {
                return None;
            }
            let routes = routes.iter().filter(|route| is_made(route, index)).cloned().collect();
            let without_v6 = fs::read_to_string(setting(&without_v6(&name))).ok();
            Some(Interface { name, index, addresses, routes, without_v6 })
        });
        let interfaces = interfaces.collect();
        let settings = SET.iter().filter_map(|name| Some((*name, read_setting(name)?))).collect();
        Ok(Self { kernel, interfaces, settings })
    }

    /// Moves this process and the interfaces into a fresh namespace, set up like the one
    /// before, and returns its inode. After an error nothing of it can be used.
    pub(crate) fn renew(&mut self) -> io::Result<u64> {
        system::leave_network()?;
        let mut kernel = Kernel::open()?;
        let here = File::open(CURRENT)?;
        for (name, value) in &self.settings {
            if read_setting(name).as_ref() != Some(value) {
                fs::write(setting(name), value)?;
            }
        }
        kernel.ask(&up(LOOPBACK))?;
        for interface in &mut self.interfaces {
            let there = link(interface.index, 0)
                .with(libc::IFLA_NET_NS_FD, &here.as_raw_fd().to_ne_bytes());
            self.kernel.ask(&there)?;
            interface.set_up(&mut kernel)?;
        }
        // The last that held the namespace before, unless the engine does.
        self.kernel = kernel;
        current()
    }
}

impl Interface {
    fn set_up(&mut self, kernel: &mut Kernel) -> io::Result<()> {
        let links = kernel.ask(&Message::list(libc::RTM_GETLINK, LINK))?;
        let named = |link: &&Vec<u8>| {
            attribute(link, LINK, libc::IFLA_IFNAME) == Some(self.name.as_slice())
        };
        let found = links.iter().find(named).and_then(|link| number(link, 4));
        self.index = found.ok_or(io::ErrorKind::NotFound)?;
        if let Some(value) = &self.without_v6 {
            fs::write(setting(&without_v6(&self.name)), value)?;
        }
        for address in &self.addresses {
            kernel.ask(&address_of(address, self.index))?;
        }
        kernel.ask(&up(self.index))?;
        for route in &self.routes {
            kernel.ask(&route_of(route, self.index))?;
        }
        Ok(())
    }
}

fn setting(name: &str) -> String {
    format!("{SETTINGS}/{name}")
}

fn read_setting(name: &str) -> Option<String> {
    fs::read_to_string(setting(name)).ok()
}

fn without_v6(interface: &[u8]) -> String {
    let name = String::from_utf8_lossy(interface);
    format!("ipv6/conf/{}/disable_ipv6", name.trim_end_matches('\0'))
}

/// Changes flags of an interface, or, without any, something about it.
fn link(index: u32, flags: u32) -> Message {
    let mut body = [0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&flags.to_ne_bytes());
    Message::change(libc::RTM_SETLINK, 0, &body)
}

fn up(index: u32) -> Message {
    link(index, UP)
}

/// The message that gives an address, as it was listed, to an interface.
fn address_of(listed: &[u8], index: u32) -> Message {
    let mut body = listed[..ADDRESS].to_vec();
    // Nobody else has had it meanwhile, so nobody is asked.
    body[2] = if body[0] == libc::AF_INET6 as u8 { libc::IFA_F_NODAD as u8 } else { 0 };
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let message = Message::change(libc::RTM_NEWADDR, NEW, &body);
    copy(message, listed, ADDRESS, &[libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST])
}

fn route_of(listed: &[u8], index: u32) -> Message {
    let mut body = listed[..ROUTE].to_vec();
    // Flags are what the kernel found out.
    body[8..12].fill(0);
    let message = Message::change(libc::RTM_NEWROUTE, NEW, &body);
    let kept = [libc::RTA_DST, libc::RTA_GATEWAY, libc::RTA_PRIORITY, libc::RTA_PREFSRC];
    copy(message, listed, ROUTE, &kept).with(libc::RTA_OIF, &index.to_ne_bytes())
}

fn copy(message: Message, listed: &[u8], skip: usize, kept: &[u16]) -> Message {
    kept.iter().fold(message, |message, kind| match attribute(listed, skip, *kind) {
        Some(value) => message.with(*kind, value),
        None => message,
    })
}

/// Says whether somebody made the route: the kernel's own come with the addresses.
fn is_made(route: &[u8], index: u32) -> bool {
    let device = attribute(route, ROUTE, libc::RTA_OIF).and_then(|value| number(value, 0));
    let [.., table, protocol, _scope, _kind] = route[..8] else { return false };
    device == Some(index) && table == libc::RT_TABLE_MAIN && protocol != libc::RTPROT_KERNEL
}
