//! What the kernel is asked and told about interfaces, addresses and routes (rtnetlink).
//!
//! Only as much of the protocol as moving one interface needs: messages are put together
//! and taken apart here, so nothing has to be linked into PID 1 for it.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::system;

/// Before the body: length, kind, flags, sequence, sender.
const HEADER: usize = 16;
/// Everything begins at a multiple of this.
const ALIGNMENT: usize = 4;
/// No datagram of the kernel is longer.
const DATAGRAM: usize = 64 << 10;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACKNOWLEDGE: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// A message on its way to the kernel.
pub(crate) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// Changes something; `body` is the structure that belongs to `kind`.
    pub(crate) fn change(kind: u16, flags: i32, body: &[u8]) -> Self {
        let flags = u16::try_from(flags).unwrap_or_default();
        Self { kind, flags: REQUEST | ACKNOWLEDGE | flags, body: body.to_vec() }
    }

    /// Asks for everything of a kind.
    pub(crate) fn list(kind: u16, body: usize) -> Self {
        Self { kind, flags: REQUEST | DUMP, body: vec![0; body] }
    }

    #[must_use]
    pub(crate) fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("addresses and names are short");
        self.body.extend(length.to_ne_bytes());
        self.body.extend(attribute.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    fn encode(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).expect("messages are short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.body);
        bytes
    }
}

/// The kernel, asked about one network namespace.
pub(crate) struct Kernel {
    socket: File,
    sequence: u32,
}

impl Kernel {
    /// For the namespace this process is in now; it stays the same when the process moves.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: system::route_socket()?, sequence: 0 })
    }

    /// Sends a message, and returns the bodies of what is answered.
    pub(crate) fn ask(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        self.socket.write_all(&message.encode(self.sequence))?;
        let mut bodies = Vec::new();
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let length = self.socket.read(&mut datagram)?;
            for answer in answers(&datagram[..length]) {
                if answer.sequence != self.sequence {
                    continue;
                }
                match answer.kind {
                    ERROR => return answer.verdict().map(|()| bodies),
                    DONE => return Ok(bodies),
                    _ => bodies.push(answer.body.to_vec()),
                }
            }
        }
    }
}

struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Answer<'_> {
    /// The error that an acknowledgement carries; 0 is none.
    fn verdict(&self) -> io::Result<()> {
        match number(self.body, 0).map(u32::cast_signed) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn answers(mut datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(datagram, 0)?).ok()?;
        let message = datagram.get(..length).filter(|_| length >= HEADER)?;
        datagram = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        Some(Answer { kind, sequence: number(message, 8)?, body: &message[HEADER..] })
    })
}

/// Returns an attribute behind the first `skip` bytes of a body.
pub(crate) fn attribute(body: &[u8], skip: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = body.get(skip..)?;
    loop {
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
}

/// Returns the number of four bytes at a place.
pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_as_they_were_written() {
        let message = Message::change(16, libc::NLM_F_CREATE, &[7; 8])
            .with(1, &[10, 0, 0, 1])
            .with(3, b"eth0\0")
            .with(4, &[1]);
        assert_eq!(attribute(&message.body, 8, 1), Some(&[10, 0, 0, 1][..]));
        assert_eq!(attribute(&message.body, 8, 3), Some(&b"eth0\0"[..]));
        assert_eq!(attribute(&message.body, 8, 4), Some(&[1][..]));
        assert_eq!(attribute(&message.body, 8, 5), None);
        let bytes = message.encode(9);
        assert_eq!(number(&bytes, 0), u32::try_from(bytes.len()).ok());
        let answer = answers(&bytes).next().unwrap();
        assert_eq!((answer.kind, answer.sequence), (16, 9));
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let bytes = Message::list(18, 16).encode(1);
        for length in 0..bytes.len() {
            assert!(answers(&bytes[..length]).next().is_none(), "{length} bytes");
        }
        assert!(answers(&[0; 64]).next().is_none());
    }

    #[test]
    fn the_kernel_lists_the_loopback_and_refuses_what_is_not_there() {
        let mut kernel = Kernel::open().unwrap();
        let links = kernel.ask(&Message::list(libc::RTM_GETLINK, 16)).unwrap();
        assert!(links.iter().any(|link| attribute(link, 16, libc::IFLA_IFNAME) == Some(b"lo\0")));
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refused = kernel.ask(&Message::change(libc::RTM_SETLINK, 0, &body)).unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(libc::ENODEV | libc::EPERM)), "{refused}");
    }
}
