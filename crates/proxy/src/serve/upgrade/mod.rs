//! One proxy takes over from another, and nobody notices.
//!
//! Beside the control socket each proxy has one for its successor. The two speak
//! one line at a time:
//!
//! ```text
//! successor   → shipline-proxy-upgrade 1
//! predecessor → {addresses, …}      with the listening sockets and the lock of the state file
//! successor   → serving             it accepts on all of them: both do
//! predecessor → released            it accepts no longer, and answers no control socket
//! ```
//!
//! From the offer on the predecessor holds changes of routes back, so that what
//! the successor reads from the file stays true; when the successor dies before
//! it serves they go on as if nothing had been. Then the successor puts its
//! control socket in its place.
//!
//! The predecessor drains: it has requests of its own in flight on units that
//! the successor may be told to drain. Until it ends it therefore follows
//! ([`follow`]): each change of routes is answered only when it has it too, and
//! a drain waits for its requests as well.

pub mod follow;
mod give;
mod pass;
mod take;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use give::{Given, Goods, give};
pub use take::{Taken, Taking, take};

const GREETING: &str = "shipline-proxy-upgrade 1";
const SERVING: &str = "serving";
const RELEASED: &str = "released";

/// How long one may wait for a line of the other; changes of routes wait as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the predecessor has to give; file descriptors come with it in this order:
/// the lock of the state file, then the addresses.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    addresses: Vec<OfferedAddress>,
    /// Sockets of proxies that drain, the predecessor's own among them.
    predecessors: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OfferedAddress {
    address: SocketAddr,
    tls: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("no proxy to take over from answers at {}: start without --upgrade", socket.display())]
    Nobody {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the running proxy did not hand over")]
    Broken(#[source] io::Error),
    #[error("the running proxy keeps its routes in another state file than {}", state.display())]
    OtherState { state: PathBuf },
}

/// The socket for a successor.
pub fn socket_of(control: &Path) -> PathBuf {
    beside(control, ".up")
}

/// A socket for what a predecessor is told by its successors.
pub fn follow_socket_of(control: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    beside(control, &format!(".{}-{number}", std::process::id()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
