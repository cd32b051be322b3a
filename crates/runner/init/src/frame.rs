//! The frames between the runner and PID 1 of a stage.
//!
//! To the stage goes one [`Request`] on stdin: its length in four bytes, then
//! JSON. Back come records on stdout, each a kind, a length in four bytes, and
//! that many bytes. The stage itself writes into pipes that PID 1 reads, so
//! nothing it prints can be taken for a record.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde_json::{Value, json};

/// Bytes before the payload of a record: its kind, and its length big-endian.
pub const HEADER: usize = 5;
/// No record is longer; a longer length means that the stream is not ours.
pub const RECORD_LIMIT: usize = 1 << 20;
/// No request is longer.
pub const REQUEST_LIMIT: usize = 64 << 20;
/// How long `$SHIPLINE_OUTPUT` may be; one byte more is returned.
pub const OUTPUTS_LIMIT: usize = 64 << 10;

/// What PID 1 of a stage is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Run one after the other in the same shell.
    pub commands: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub secrets: Vec<Secret>,
    /// `USER[:GROUP]`, names or numbers; `None` is root.
    pub user: Option<String>,
    pub workdir: String,
    /// The mount that every user of the stage must be able to write.
    pub workspace: String,
    /// Further mounts of that kind.
    pub caches: Vec<String>,
    /// The shell and its options, without script.
    pub shell: Vec<String>,
    /// The shell is any program: it gets all commands as one text, its last argument.
    pub as_argument: bool,
    /// `/run`: here go `shipline/output` and `secrets/`.
    pub run: String,
}

/// A value that is put into the environment as `env`, or else written to `secrets/NAME`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    pub value: String,
    pub env: Option<String>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Request {
    /// Returns the frame: four bytes of length, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        let secrets: Vec<Value> = self
            .secrets
            .iter()
            .map(|secret| json!({ "name": secret.name, "value": secret.value, "env": secret.env }))
            .collect();
        let body = json!({
            "commands": self.commands,
            "env": self.env,
            "secrets": secrets,
            "user": self.user,
            "workdir": self.workdir,
            "workspace": self.workspace,
            "caches": self.caches,
            "shell": self.shell,
            "as_argument": self.as_argument,
            "run": self.run,
        })
        .to_string()
        .into_bytes();
        let length = u32::try_from(body.len()).expect("a request is far below 4 GiB");
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(body);
        frame
    }

    /// Reads one frame, and nothing behind it.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > REQUEST_LIMIT {
            return Err(invalid(format!("a request of {length} bytes is too long")));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Self::parse(&body)
    }

    fn parse(body: &[u8]) -> io::Result<Self> {
        let value: Value = serde_json::from_slice(body).map_err(invalid)?;
        let secrets = value["secrets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|secret| {
                Ok(Secret {
                    name: text(&secret["name"], "secrets.name")?,
                    value: text(&secret["value"], "secrets.value")?,
                    env: secret["env"].as_str().map(str::to_owned),
                })
            })
            .collect::<io::Result<_>>()?;
        let env = value["env"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| Ok((name.clone(), text(value, name)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            commands: texts(&value["commands"], "commands")?,
            env,
            secrets,
            user: value["user"].as_str().map(str::to_owned),
            workdir: text(&value["workdir"], "workdir")?,
            workspace: text(&value["workspace"], "workspace")?,
            caches: texts(&value["caches"], "caches")?,
            shell: texts(&value["shell"], "shell")?,
            as_argument: value["as_argument"].as_bool().unwrap_or(false),
            run: text(&value["run"], "run")?,
        })
    }
}

fn text(value: &Value, name: &str) -> io::Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| invalid(format!("`{name}` is not a text")))
}

fn texts(value: &Value, name: &str) -> io::Result<Vec<String>> {
    let list = value.as_array().ok_or_else(|| invalid(format!("`{name}` is not a list")))?;
    list.iter().map(|value| text(value, name)).collect()
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first record, [`Ready`]: signals are heard from here on. Of a sandbox, that its
    /// network can be used.
    Ready,
    Stdout,
    Stderr,
    /// The command with this index begins: [`Began`].
    Command,
    /// A sentence of PID 1 itself.
    Notice,
    /// The contents of `$SHIPLINE_OUTPUT`.
    Outputs,
    /// The last record: [`Ended`].
    Exit,
    /// What the stage used: [`Usage`].
    Usage,
    /// The request was read: from here on something of the stage may have run.
    Accepted,
}

impl Kind {
    const ALL: [(u8, Self); 9] = [
        (0, Self::Ready),
        (1, Self::Stdout),
        (2, Self::Stderr),
        (3, Self::Command),
        (4, Self::Notice),
        (5, Self::Outputs),
        (6, Self::Exit),
        (7, Self::Usage),
        (8, Self::Accepted),
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Command => 3,
            Self::Notice => 4,
            Self::Outputs => 5,
            Self::Exit => 6,
            Self::Usage => 7,
            Self::Accepted => 8,
        }
    }
}

/// Returns what goes before `length` bytes of payload.
pub fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).expect("a record is below its limit").to_be_bytes();
    [kind.code(), a, b, c, d]
}

/// Reads a header; `Err` means that these are not records.
pub fn parse_header(bytes: [u8; HEADER]) -> Result<(Kind, usize), String> {
    let [code, a, b, c, d] = bytes;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let kind = Kind::ALL.into_iter().find(|(known, _)| *known == code).map(|(_, kind)| kind);
    match kind {
        Some(kind) if length <= RECORD_LIMIT => Ok((kind, length)),
        Some(_) => Err(format!("a record of {length} bytes is too long")),
        None => Err(format!("{code} is not a kind of record")),
    }
}

/// Who says that it is there, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub version: String,
    /// The inode of the network namespace it is in, by which the kernel tells them apart.
    pub network: Option<u64>,
}

impl Ready {
    pub fn encode(&self) -> Vec<u8> {
        json!({ "version": self.version, "network": self.network }).to_string().into_bytes()
    }

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let version = value["version"].as_str()?.to_owned();
        Some(Self { version, network: value["network"].as_u64() })
    }
}

/// A command begins, so many milliseconds after the first could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Began {
    pub index: u64,
    pub at_ms: u64,
}

impl Began {
    pub fn encode(self) -> Vec<u8> {
        json!({ "index": self.index, "at_ms": self.at_ms }).to_string().into_bytes()
    }

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        Some(Self { index: value["index"].as_u64()?, at_ms: value["at_ms"].as_u64()? })
    }
}

/// How the shell ended: its code, or 128 and the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    pub signal: Option<i64>,
    /// PID 1 has seen that nothing but itself is left in the container.
    pub alone: bool,
}

impl Ended {
    pub fn encode(self) -> Vec<u8> {
        json!({ "code": self.code, "signal": self.signal, "alone": self.alone })
            .to_string()
            .into_bytes()
    }

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let code = u8::try_from(value["code"].as_u64()?).ok()?;
        let alone = value["alone"].as_bool().unwrap_or(false);
        Some(Self { code, signal: value["signal"].as_i64(), alone })
    }
}

/// What a stage used at most, as far as the kernel tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, with what the kernel keeps of files.
    pub memory_peak: Option<u64>,
    pub pids_peak: Option<u64>,
    /// The kernel killed something of it for want of memory; `None` where it does not say.
    pub out_of_memory: Option<bool>,
    /// There were to be more processes than it may have.
    pub pids_refused: bool,
    pub full: Vec<Full>,
}

/// A place without room at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    pub place: String,
    /// Bytes it holds.
    pub size: u64,
}

impl Usage {
    pub fn encode(&self) -> Vec<u8> {
        let full = self.full.iter().map(|full| json!({ "place": full.place, "size": full.size }));
        json!({
            "memory_peak": self.memory_peak,
            "pids_peak": self.pids_peak,
            "out_of_memory": self.out_of_memory,
            "pids_refused": self.pids_refused,
            "full": full.collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes()
    }

    pub fn parse(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let full = value["full"].as_array()?.iter().filter_map(|full| {
            Some(Full { place: full["place"].as_str()?.to_owned(), size: full["size"].as_u64()? })
        });
        Some(Self {
            memory_peak: value["memory_peak"].as_u64(),
            pids_peak: value["pids_peak"].as_u64(),
            out_of_memory: value["out_of_memory"].as_bool(),
            pids_refused: value["pids_refused"].as_bool().unwrap_or(false),
            full: full.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_sent_and_nothing_behind_it_is_read() {
        let request = Request {
            commands: vec!["echo 'a\n'".to_owned(), "ünï \u{1F980}".to_owned()],
            env: BTreeMap::from([("A".to_owned(), "x=y\n".to_owned())]),
            secrets: vec![Secret {
                name: "TOKEN".to_owned(),
                value: "s3cret".to_owned(),
                env: Some("T".to_owned()),
            }],
            user: Some("nobody".to_owned()),
            workdir: "/workspace/web".to_owned(),
            workspace: "/workspace".to_owned(),
            caches: vec!["/root/.m2".to_owned()],
            shell: vec!["sh".to_owned(), "-e".to_owned()],
            as_argument: true,
            run: "/run".to_owned(),
        };
        let mut bytes = request.encode();
        bytes.extend(b"behind");
        let mut rest = bytes.as_slice();
        assert_eq!(Request::read(&mut rest).unwrap(), request);
        assert_eq!(rest, b"behind");
    }

    #[test]
    fn a_request_that_is_cut_or_too_long_is_refused() {
        let frame = Request::default().encode();
        for length in 0..frame.len() {
            assert!(Request::read(&mut &frame[..length]).is_err(), "{length} bytes");
        }
        assert!(Request::read(&mut [0xff; 64].as_slice()).is_err());
    }

    #[test]
    fn a_header_is_read_back_for_every_kind() {
        for (_, kind) in Kind::ALL {
            assert_eq!(parse_header(header(kind, 70_000)), Ok((kind, 70_000)));
        }
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        assert!(parse_header(*b"hello").is_err());
        assert!(parse_header([1, 0xff, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_ended_and_what_began_arrive_as_sent() {
        let ready = Ready { version: "1".to_owned(), network: Some(4_026_532_345) };
        assert_eq!(Ready::parse(&ready.encode()), Some(ready));
        let began = Began { index: 3, at_ms: 1200 };
        assert_eq!(Began::parse(&began.encode()), Some(began));
        let ended = Ended { code: 143, signal: Some(15), alone: true };
        assert_eq!(Ended::parse(&ended.encode()), Some(ended));
        let full = vec![Full { place: "/tmp".to_owned(), size: 7 }];
        let usage = Usage {
            memory_peak: Some(4096),
            pids_peak: None,
            out_of_memory: Some(true),
            pids_refused: true,
            full,
        };
        assert_eq!(Usage::parse(&usage.encode()), Some(usage));
    }

    #[test]
    fn a_secret_does_not_show_its_value() {
        let secret = Secret { name: "T".to_owned(), value: "s3cret".to_owned(), env: None };
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
