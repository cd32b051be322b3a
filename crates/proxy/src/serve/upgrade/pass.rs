//! Lines and file descriptors over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// More than this the kernel does not pass at once.
pub const MOST_FILES: usize = 250;

const LONGEST_LINE: usize = 1 << 20;

pub fn write_line(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Reads one line; the end of the connection is an error.
pub fn read_line(mut stream: &UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    // Byte by byte: what comes after the line is not ours. Lines are few and short.
    while line.len() < LONGEST_LINE {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return String::from_utf8(line).map_err(io::Error::other);
        }
        line.push(byte[0]);
    }
    Err(io::Error::other("a line that never ends"))
}

/// Writes one line, the first byte of which carries `files`.
pub fn write_with_files(
    mut stream: &UnixStream,
    line: &str,
    files: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other(format!(
            "{} sockets are more than can be passed",
            files.len()
        )));
    }
    let line = format!("{line}\n");
    let (first, rest) = line.as_bytes().split_at(1);
    sendmsg(stream, &[IoSlice::new(first)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(rest)
}

/// Reads what [`write_with_files`] wrote.
pub fn read_with_files(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut first = [0];
    let read = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut first)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if read.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut files = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            files.extend(passed);
        }
    }
    let rest = read_line(stream)?;
    Ok((format!("{}{rest}", char::from(first[0])), files))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn files_come_with_their_line_and_the_next_line_is_left() {
        let (one, other) = UnixStream::pair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passed");
        std::fs::write(&path, "words").unwrap();
        let file = File::open(&path).unwrap();
        write_with_files(&one, "{\"a\":1}", &[file.as_fd(), file.as_fd()]).unwrap();
        write_line(&one, "serving").unwrap();
        let (line, files) = read_with_files(&other).unwrap();
        assert_eq!((line.as_str(), files.len()), ("{\"a\":1}", 2));
        let mut text = String::new();
        let mut passed = File::from(files.into_iter().next().unwrap());
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
        assert_eq!(read_line(&other).unwrap(), "serving");
        drop(one);
        assert!(read_line(&other).is_err());
    }
}
