//! The witness: units tell it what they did, over connections whose end is their own.
//!
//! It takes down when a unit was there, got well or sick, was asked for something first and
//! was told to end, and every id that it did something for. So nothing has to be asked of
//! the engine that runs the units, and what is known is exact.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// One life of a unit.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Where it answers.
    pub address: SocketAddr,
    pub version: String,
    pub born: Instant,
    pub well: Option<Instant>,
    pub sick: Option<Instant>,
    /// How often in a row it had said that it is well when it was first asked for
    /// something else.
    pub first: Option<u64>,
    pub term: Option<Instant>,
    pub gone: Option<Instant>,
}

impl Unit {
    /// Whether it could not serve at `at`, as far as it was known by then.
    pub fn failed_before(&self, at: Instant) -> bool {
        let before = |moment: Option<Instant>| moment.is_some_and(|moment| moment < at);
        before(self.gone) || before(self.sick) || self.well.is_none()
    }
}

#[derive(Default)]
struct Book {
    units: Vec<Unit>,
    posts: HashMap<u64, u32>,
    /// So many units of each version are to be good, whatever it is like.
    spared: usize,
}

pub struct Witness {
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Witness {
    /// Listens where units can reach it.
    pub fn start(at: IpAddr) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(at, 0)).expect("it can be bound");
        let address = listener.local_addr().expect("it has an address");
        let book = Arc::<Mutex<Book>>::default();
        let witness = Self { address, book: Arc::clone(&book) };
        // It goes with the process of the lab.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let book = Arc::clone(&book);
                std::thread::spawn(move || listen(&stream, &book));
            }
        });
        witness
    }

    /// From now on the first `units` of every new version are good.
    pub fn spare(&self, units: usize) {
        self.lock().spared = units;
    }

    pub fn units(&self) -> Vec<Unit> {
        self.lock().units.clone()
    }

    /// The last unit that came to be at `address`.
    pub fn unit_at(&self, address: SocketAddr) -> Option<Unit> {
        self.lock().units.iter().rfind(|unit| unit.address == address).cloned()
    }

    /// The unit that was meant by `address` at `at` or a moment later: the last one that could
    /// serve then, for another may have come there since; without one, the last.
    pub fn unit_meant(&self, address: SocketAddr, at: Instant) -> Option<Unit> {
        let book = self.lock();
        let mut there = book.units.iter().rev().filter(|unit| unit.address == address);
        let last = there.clone().next();
        there.find(|unit| !unit.failed_before(at)).or(last).cloned()
    }

    /// Ids with how often something was done for them, since this was last asked.
    pub fn take_posts(&self) -> HashMap<u64, u32> {
        std::mem::take(&mut self.lock().posts)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no listener panics")
    }
}

fn listen(stream: &TcpStream, book: &Mutex<Book>) {
    let _ = stream.set_nodelay(true);
    let mut own = None;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    for line in lines {
        let answer = take_down(&line, &mut own, book);
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
    if let Some(own) = own {
        book.lock().expect("no listener panics").units[own].gone = Some(Instant::now());
    }
}

/// Returns what is answered.
fn take_down(line: &str, own: &mut Option<usize>, book: &Mutex<Book>) -> &'static str {
    let now = Instant::now();
    let mut book = book.lock().expect("no listener panics");
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["hello", address, version] = words.as_slice()
        && let Ok(address) = address.parse()
    {
        let version = (*version).to_owned();
        let former = book.units.iter().filter(|unit| unit.version == version).count();
        *own = Some(book.units.len());
        book.units.push(Unit {
            address,
            version,
            born: now,
            well: None,
            sick: None,
            first: None,
            term: None,
            gone: None,
        });
        return if former < book.spared { "spared\n" } else { "taken\n" };
    }
    if let ["post", id] = words.as_slice() {
        if let Ok(id) = id.parse() {
            *book.posts.entry(id).or_default() += 1;
        }
        return "taken\n";
    }
    if let Some(unit) = own.and_then(|own| book.units.get_mut(own)) {
        match words.as_slice() {
            ["well"] => unit.well = Some(now),
            ["sick"] => unit.sick = Some(now),
            ["term"] => unit.term = Some(now),
            ["first", times] => unit.first = times.parse().ok(),
            _ => {}
        }
    }
    "taken\n"
}
