//! The ways that clients ask, and how often each of them does.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A connection of its own.
    Close,
    /// A connection that was just used.
    KeepAlive,
    /// A connection that nobody used for a while.
    Idle,
    /// Something that must happen exactly once.
    Post,
    /// An answer that takes long.
    Slow,
    /// A WebSocket with an echo now and then.
    Socket,
    /// A body in pieces, of a length nobody was told.
    Upload,
}

impl Class {
    pub const ALL: [Self; 7] = [
        Self::Close,
        Self::KeepAlive,
        Self::Idle,
        Self::Post,
        Self::Slow,
        Self::Socket,
        Self::Upload,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::KeepAlive => "keep-alive",
            Self::Idle => "idle",
            Self::Post => "post",
            Self::Slow => "slow",
            Self::Socket => "websocket",
            Self::Upload => "upload",
        }
    }
}

/// What a load is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Of a hundred requests.
    shares: &'static [(Class, u64)],
    /// How long slow answers take, at least; at most twice that.
    slow: Duration,
    /// How long a connection is idle, at least.
    pub idle: Duration,
    /// How long a WebSocket lasts.
    pub socket: Duration,
    pub upload_bytes: usize,
    /// How long it takes to send them.
    pub upload: Duration,
}

impl Mix {
    pub const fn plain() -> Self {
        Self { shares: &[(Class::Close, 50), (Class::KeepAlive, 50)], ..Self::quick() }
    }

    /// All classes; what takes long takes seconds.
    pub const fn quick() -> Self {
        Self {
            shares: &[
                (Class::Close, 32),
                (Class::KeepAlive, 36),
                (Class::Idle, 7),
                (Class::Post, 20),
                (Class::Slow, 2),
                (Class::Socket, 1),
                (Class::Upload, 2),
            ],
            slow: Duration::from_millis(1_500),
            idle: Duration::from_millis(1_500),
            socket: Duration::from_secs(3),
            upload_bytes: 64 << 10,
            upload: Duration::from_millis(800),
        }
    }

    /// All classes, for tests of seconds.
    pub const fn brief() -> Self {
        Self {
            slow: Duration::from_millis(400),
            idle: Duration::from_millis(600),
            socket: Duration::from_secs(1),
            upload_bytes: 16 << 10,
            upload: Duration::from_millis(300),
            ..Self::quick()
        }
    }

    /// WebSockets alone, of units that answer at once.
    pub const fn sockets() -> Self {
        Self { shares: &[(Class::Socket, 100)], socket: Duration::ZERO, ..Self::quick() }
    }

    /// All classes; slow answers take 10 to 20 s.
    pub const fn whole() -> Self {
        Self {
            slow: Duration::from_secs(10),
            idle: Duration::from_secs(4),
            socket: Duration::from_secs(12),
            upload_bytes: 256 << 10,
            upload: Duration::from_secs(2),
            ..Self::quick()
        }
    }

    /// The same number is always of the same class, and neighbours are of others.
    pub fn class(&self, number: u64) -> Class {
        let mut place = (number * 37) % 100;
        for (class, share) in self.shares {
            match place.checked_sub(*share) {
                Some(rest) => place = rest,
                None => return *class,
            }
        }
        Class::Close
    }

    /// How long this slow answer is to take.
    pub fn slow(&self, number: u64) -> Duration {
        self.slow + self.slow.mul_f64((number * 7919 % 1_000) as f64 / 1_000.0)
    }

    /// How long requests of the class ask to wait, at most.
    pub fn longest(&self, class: Class) -> Duration {
        match class {
            Class::Slow => self.slow * 2,
            Class::Socket => self.socket,
            Class::Upload => self.upload,
            _ => Duration::ZERO,
        }
    }
}
