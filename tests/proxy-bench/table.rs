//! The table: medians, and ours as a share of each other one's.

use std::fmt;

use crate::contestant::Contestant;
use crate::wrk::{Kind, Measured};

pub const OWN: &str = "shipline proxy";

pub struct Table {
    /// Ours is the first.
    names: Vec<String>,
    absent: Vec<&'static str>,
    /// By turn, in the order of the names.
    turns: Vec<(Kind, Vec<Measured>)>,
}

impl Table {
    pub fn new(contestants: &[Contestant], absent: Vec<&'static str>) -> Self {
        let names = contestants.iter().map(|contestant| contestant.name.clone()).collect();
        Self { names, absent, turns: Vec::new() }
    }

    pub fn add(&mut self, kind: Kind, measured: Vec<Measured>) {
        self.turns.push((kind, measured));
    }

    /// A figure of each turn of a kind, from what all had in it.
    fn median(&self, kind: Kind, figure: impl Fn(&[Measured]) -> f64) -> f64 {
        let turns = self.turns.iter().filter(|(of, _)| *of == kind);
        let mut figures: Vec<f64> = turns.map(|(_, measured)| figure(measured)).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn errors(&self, kind: Kind, place: usize) -> u64 {
        let turns = self.turns.iter().filter(|(of, _)| *of == kind);
        turns.map(|(_, measured)| measured[place].errors).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = self.turns.len() / Kind::ALL.len();
        writeln!(
            f,
            "| {turns} turns | | requests/s | p99 | ours: requests/s | ours: p99 | errors |\n\
             | --- | --- | --- | --- | --- | --- | --- |"
        )?;
        for kind in Kind::ALL {
            for (place, name) in self.names.iter().enumerate() {
                let per_second = self.median(kind, |all| all[place].per_second);
                let p99 = self.median(kind, |all| all[place].p99_ms);
                let times = |figure: fn(&Measured) -> f64| match place {
                    0 => "1".to_owned(),
                    _ => {
                        let ratio = self.median(kind, |all| figure(&all[0]) / figure(&all[place]));
                        format!("{ratio:.2} ×")
                    }
                };
                let what = if place == 0 { kind.name() } else { "" };
                let errors = self.errors(kind, place);
                writeln!(
                    f,
                    "| {what} | {name} | {per_second:.0} | {p99:.2} ms | {} | {} | {errors} |",
                    times(|it| it.per_second),
                    times(|it| it.p99_ms),
                )?;
            }
        }
        for name in &self.absent {
            writeln!(f, "\n- left out: {name} is not installed")?;
        }
        Ok(())
    }
}
