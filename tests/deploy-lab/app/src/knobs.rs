//! What the environment says about how good or bad to be.

use std::time::Duration;

/// Durations are `250ms`, `3s`, or a number of seconds.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// `PORT`: where to listen.
    pub port: u16,
    /// `VERSION`.
    pub version: String,
    /// `SHIPLINE_RELEASE`, as its target tells it.
    pub release: String,
    /// `LIE_VERSION`: what it tells in place of both.
    pub lie_version: Option<String>,
    /// `START_DELAY`: how long it does not listen yet.
    pub start_delay: Duration,
    /// `HEALTH_FLIP_AFTER`: how long it is well; `0s` for never.
    pub health_flip_after: Option<Duration>,
    /// `FAIL_AFTER`: from then on it answers 500, while its health stays well.
    pub fail_after: Option<Duration>,
    /// `SLOW`: how much later every answer comes.
    pub slow: Duration,
    /// `IGNORE_TERM`: it does not end when it is told to.
    pub ignore_term: bool,
    /// `CLOSE_ON_TERM`: it drops what is in flight when it is told to end.
    pub close_on_term: bool,
    /// `CRASH_LOOP`: how long after its start it exits with 1, every time.
    pub crash_loop: Option<Duration>,
    /// `EAT_MEMORY`: so many MiB are taken, eight at a time.
    pub eat_memory: usize,
    /// `WITNESS`: who takes down what it did, `HOST:PORT`.
    pub witness: Option<String>,
}

impl Knobs {
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let time = |name: &str| {
            let text = variable(name).filter(|text| !text.is_empty());
            text.map(|text| duration(&text).ok_or(format!("{name}={text} is no duration")))
                .transpose()
        };
        let number = |name: &str, otherwise: usize| {
            let text = variable(name).filter(|text| !text.is_empty());
            text.map_or(Ok(otherwise), |text| {
                text.parse().map_err(|_| format!("{name}={text} is no number"))
            })
        };
        let is_set = |name: &str| variable(name).is_some_and(|text| !matches!(&*text, "" | "0"));
        Ok(Self {
            port: u16::try_from(number("PORT", 8080)?).map_err(|_| "PORT is none".to_owned())?,
            version: variable("VERSION").unwrap_or_else(|| "none".to_owned()),
            release: variable("SHIPLINE_RELEASE").unwrap_or_default(),
            lie_version: variable("LIE_VERSION").filter(|text| !text.is_empty()),
            start_delay: time("START_DELAY")?.unwrap_or_default(),
            health_flip_after: time("HEALTH_FLIP_AFTER")?,
            fail_after: time("FAIL_AFTER")?,
            slow: time("SLOW")?.unwrap_or_default(),
            ignore_term: is_set("IGNORE_TERM"),
            close_on_term: is_set("CLOSE_ON_TERM"),
            crash_loop: time("CRASH_LOOP")?,
            eat_memory: number("EAT_MEMORY", 0)?,
            witness: variable("WITNESS").filter(|text| !text.is_empty()),
        })
    }

    /// Nothing is bad about it but its start.
    pub fn spare(&mut self) {
        self.lie_version = None;
        self.health_flip_after = None;
        self.fail_after = None;
        self.slow = Duration::ZERO;
        self.ignore_term = false;
        self.close_on_term = false;
        self.crash_loop = None;
        self.eat_memory = 0;
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_is_told_and_may_be_spared() {
        let knobs = Knobs::read(|name| match name {
            "VERSION" | "SHIPLINE_RELEASE" => Some("2".to_owned()),
            "LIE_VERSION" => Some("1".to_owned()),
            "START_DELAY" => Some("250ms".to_owned()),
            "HEALTH_FLIP_AFTER" => Some("1.5".to_owned()),
            _ => None,
        });
        let mut knobs = knobs.expect("all of it can be read");
        assert_eq!((&*knobs.version, knobs.lie_version.as_deref()), ("2", Some("1")));
        assert_eq!(knobs.start_delay, Duration::from_millis(250));
        assert_eq!(knobs.health_flip_after, Some(Duration::from_millis(1500)));
        assert_eq!(knobs.fail_after, None);
        knobs.spare();
        assert_eq!((knobs.lie_version, knobs.health_flip_after), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong = Knobs::read(|name| (name == "SLOW").then(|| "soon".to_owned()));
        assert_eq!(wrong.err(), Some("SLOW=soon is no duration".to_owned()));
    }
}
