//! Those who watch a stage are cut off again and again, come back, and have seen each byte once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::audit::{read_all, stdout};
use crate::survival::{Dice, Place, faults};

/// What one connection came to.
enum End {
    Cut,
    /// The server had no more to say.
    Over,
}

struct Follower {
    address: SocketAddr,
    token: String,
    path: String,
    /// The id of the last event that came whole.
    last: Option<String>,
    /// What the stage wrote, as far as it came.
    seen: String,
    /// Of the lines whose time is known, in seconds.
    delays: Vec<f64>,
}

impl Follower {
    /// Follows until `limit` bytes came, which mostly ends in the middle of an event.
    fn connect(&mut self, limit: u64) -> End {
        let stream = TcpStream::connect(self.address).expect("the server answers");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a socket");
        let last = self.last.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n"));
        // Of this version, since its body ends with the connection and is not in chunks.
        let request = format!(
            "GET {} HTTP/1.0\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n{}\r\n",
            self.path,
            self.token,
            last.unwrap_or_default()
        );
        (&stream).write_all(request.as_bytes()).expect("it takes a request");
        let mut lines = BufReader::new((&stream).take(limit));
        let mut line = String::new();
        lines.read_line(&mut line).expect("it answers");
        if line.contains(" 204 ") {
            return End::Over;
        }
        let (mut id, mut data) = (None, None);
        loop {
            line.clear();
            let bytes = lines.read_line(&mut line).expect("it goes on within a minute");
            if bytes == 0 || !line.ends_with('\n') {
                return if lines.get_ref().limit() == 0 { End::Cut } else { End::Over };
            }
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.trim().to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(text.to_owned());
            } else if line == "\n"
                && let (Some(id), Some(data)) = (id.take(), data.take())
            {
                self.last = Some(id);
                self.take(&serde_json::from_str(&data).expect("a frame"));
            }
        }
    }

    fn take(&mut self, frame: &Value) {
        if frame["stream"] != "stdout" {
            return;
        }
        let text = frame["text"].as_str().expect("it writes letters");
        let now = uptime();
        let told = text.lines().filter_map(|line| line.strip_prefix("at ")?.parse::<f64>().ok());
        self.delays.extend(told.map(|at| now - at));
        self.seen.push_str(text);
    }
}

/// The clock that a container shares with its host, to a hundredth of a second.
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("the kernel tells it");
    text.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).expect("a number")
}

#[test]
fn followers_that_are_cut_off_again_and_again_see_each_byte_once() {
    let mut dice = Dice::cast("followers_that_are_cut_off_again_and_again_see_each_byte_once");
    let (followers, cuts, ticks) = if faults().is_some() { (50, 20, 300) } else { (8, 6, 60) };
    let mut place = Place::new(|_| {
        format!(
            "image: busybox:1\nstages:\n  talk:\n    run:\n      - |\n        i=0\n        \
             while [ $i -lt {ticks} ]; do\n          \
             echo \"at $(cut -d' ' -f1 /proc/uptime)\"\n          \
             head -c 1500 /dev/urandom | base64\n          sleep 0.1; i=$((i+1))\n        done\n"
        )
    });
    assert!(place.trigger());
    let rows = place.server.client(&place.lab, &["runs", "--format", "json"]).expect(0).json();
    let run = rows[0]["run"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/runs/{run}/stages/talk/log?follow=true");
    let threads: Vec<_> = (0..followers)
        .map(|_| {
            let mut follower = Follower {
                address: place.server.address,
                token: place.server.token(),
                path: path.clone(),
                last: None,
                seen: String::new(),
                delays: Vec::new(),
            };
            // About as far apart as what is written divides by their number.
            let limits: Vec<u64> =
                (0..cuts).map(|_| 300 + dice.below(2 * 2500 * ticks / cuts)).collect();
            std::thread::spawn(move || {
                let mut cut = 0_u64;
                for limit in limits {
                    if matches!(follower.connect(limit), End::Over) {
                        break;
                    }
                    cut += 1;
                }
                while matches!(follower.connect(u64::MAX), End::Cut) {}
                (follower, cut)
            })
        })
        .collect();
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it saw")).collect();
    place.wait_for_all(Duration::from_secs(60));
    place.server.terminate();
    let runs = read_all(&place.server.data.join("state.db"));
    let output = place.server.data.join("runs").join(runs[0].row.id.to_string()).join("output");
    let kept = String::from_utf8(stdout(&output, "talk", 1)).expect("it wrote letters");
    assert_eq!(kept.lines().filter(|line| line.starts_with("at ")).count() as u64, ticks);
    let wrong = ended.iter().filter(|(follower, _)| follower.seen != kept).count();
    assert_eq!(wrong, 0, "of {followers} followers saw something else");
    let cut: u64 = ended.iter().map(|(_, cut)| cut).sum();
    assert!(cut * 2 > followers * cuts, "only {cut} times was one cut off");
    let mut delays: Vec<_> = ended.iter().flat_map(|(follower, _)| &follower.delays).collect();
    delays.sort_by(|one, other| one.total_cmp(other));
    eprintln!(
        "{followers} followers, cut off {cut} times, saw {} bytes each; from the stage to them {} s at \
         p95, those who came back late among them",
        kept.len(),
        delays[delays.len() * 95 / 100]
    );
}
