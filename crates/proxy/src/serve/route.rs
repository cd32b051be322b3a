//! A route: whom it is for, and whose turn it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::HeaderMap;

use super::counts::Counts;
use super::state::SavedRoute;
use super::sticky::{Bond, Token, draw};
use super::unit::Unit;
use crate::control::{RELEASE_HEADER, ReleaseCounts, RouteStatus, Target, TargetStatus};

/// Counts of this many releases are kept besides those of the releases in use.
const PAST_RELEASES: usize = 16;

/// A route as it is between two swaps; a swap makes a new one.
#[derive(Debug)]
pub struct Route {
    pub saved: SavedRoute,
    set: Vec<Member>,
    /// Smooth weighted choice: each member's credit.
    turns: Mutex<Vec<i64>>,
    /// Counts per release, oldest first.
    releases: Vec<(String, Arc<Counts>)>,
}

#[derive(Debug)]
struct Member {
    unit: Arc<Unit>,
    weight: u32,
    token: Token,
}

/// What a request asks of the choice; nothing but on routes that allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The one release it may go to.
    pub release: Option<String>,
    bond: Option<Bond>,
}

impl Wish {
    /// The cookie that binds the client to the unit it got, when it has another or none.
    pub fn cookie(&self, unit: &Unit, prefix: &str, secure: bool) -> Option<String> {
        let Some(Bond::Cookies(said)) = &self.bond else {
            return None;
        };
        let token = Token::of(unit);
        (!said.contains(&token)).then(|| token.cookie(prefix, secure))
    }
}

impl Route {
    /// Makes the route that `saved` describes, with the units and counts of the one before.
    pub fn new(saved: SavedRoute, before: Option<&Route>, draining: &[Arc<Unit>]) -> Route {
        let mut releases = before.map_or_else(Vec::new, |route| route.releases.clone());
        let set: Vec<Member> = saved
            .targets
            .iter()
            .map(|target| {
                let known = before.into_iter().flat_map(Route::units).chain(draining);
                let unit = known.into_iter().find(|unit| is(unit, target)).cloned();
                let counts = counts(&mut releases, &target.release, unit.as_deref());
                let unit = unit.unwrap_or_else(|| {
                    let address = target.address.parse().expect("targets are checked");
                    Arc::new(Unit::new(&target.unit, address, &target.release, counts))
                });
                Member { token: Token::of(&unit), weight: target.weight, unit }
            })
            .collect();
        let mut younger = releases.len();
        releases.retain(|(release, _)| {
            younger -= 1;
            younger < PAST_RELEASES || set.iter().any(|member| member.unit.release == *release)
        });
        Route { turns: Mutex::new(vec![0; set.len()]), set, releases, saved }
    }

    pub fn units(&self) -> impl Iterator<Item = &Arc<Unit>> {
        self.set.iter().map(|member| &member.unit)
    }

    pub fn has(&self, unit: &Arc<Unit>) -> bool {
        self.units().any(|member| Arc::ptr_eq(member, unit))
    }

    /// What a request may ask of this route.
    pub fn wish(&self, client: IpAddr, headers: &HeaderMap) -> Wish {
        let options = &self.saved.options;
        let release = if options.release_header { headers.get(RELEASE_HEADER) } else { None };
        let release = release.and_then(|release| release.to_str().ok()).map(str::to_owned);
        let bond = match (&options.sticky, &release) {
            // Who chooses for once is not bound by it.
            (Some(sticky), None) => Bond::of(sticky, client, headers),
            _ => None,
        };
        Wish { release, bond }
    }

    /// Returns the unit whose turn it is by `wish`, but not `avoid`.
    ///
    /// Units that could not be reached lately are passed over while there are
    /// others; when there are none, a unit that may be down is better than none.
    pub fn choose(&self, wish: &Wish, avoid: Option<&Unit>, now: Instant) -> Option<&Arc<Unit>> {
        let eligible = |member: &Member| {
            let wanted = match &wish.release {
                // Also one without weight: that is how it is tried before others get it.
                Some(release) => member.unit.release == *release,
                None => member.weight > 0,
            };
            wanted && avoid.is_none_or(|avoid| avoid.key != member.unit.key)
        };
        self.pick(wish, |member| eligible(member) && !member.unit.rests(now))
            .or_else(|| self.pick(wish, eligible))
    }

    fn pick(&self, wish: &Wish, eligible: impl Fn(&Member) -> bool) -> Option<&Arc<Unit>> {
        match &wish.bond {
            None => self.take_turn(eligible),
            Some(Bond::Hash(client)) => {
                let drawn = |member: &Member| draw(*client, member.token, member.weight.max(1));
                let members = self.set.iter().filter(|member| eligible(member));
                let highest = members.max_by(|one, other| drawn(one).total_cmp(&drawn(other)));
                highest.map(|member| &member.unit)
            }
            Some(Bond::Cookies(said)) => {
                let same = |member: &&Member| eligible(member) && said.contains(&member.token);
                if let Some(member) = self.set.iter().find(same) {
                    return Some(&member.unit);
                }
                // A unit that was replaced: its release is what the client noticed.
                let release = |member: &Member| said.iter().any(|of| of.same_release(member.token));
                self.take_turn(|member| eligible(member) && release(member))
                    .or_else(|| self.take_turn(eligible))
            }
        }
    }

    /// Everybody gains their weight, the richest pays for all: over a round each
    /// member is chosen as often as its weight says, and never in bursts.
    fn take_turn(&self, eligible: impl Fn(&Member) -> bool) -> Option<&Arc<Unit>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        let mut richest: Option<usize> = None;
        for (index, member) in self.set.iter().enumerate() {
            if !eligible(member) {
                continue;
            }
            let weight = i64::from(member.weight.max(1));
            total += weight;
            turns[index] += weight;
            if richest.is_none_or(|richest| turns[index] > turns[richest]) {
                richest = Some(index);
            }
        }
        let richest = richest?;
        turns[richest] -= total;
        Some(&self.set[richest].unit)
    }

    pub fn status<'a>(&self, draining: impl Iterator<Item = &'a Arc<Unit>>) -> RouteStatus {
        let status = |unit: &Unit, weight| TargetStatus {
            target: Target {
                unit: unit.name.clone(),
                address: unit.address.to_string(),
                release: unit.release.clone(),
                weight,
            },
            in_flight: unit.in_flight(),
        };
        let draining: Vec<&Arc<Unit>> = draining.collect();
        let in_flight = |release: &str| {
            let units = self.units().chain(draining.iter().copied());
            units.filter(|unit| unit.release == release).map(|unit| unit.in_flight()).sum()
        };
        let releases: BTreeMap<String, ReleaseCounts> = self
            .releases
            .iter()
            .map(|(release, counts)| (release.clone(), counts.read(in_flight(release))))
            .collect();
        RouteStatus {
            fence: self.saved.fence,
            generation: self.saved.generation,
            matches: self.saved.matches.clone(),
            options: self.saved.options.clone(),
            targets: self.set.iter().map(|member| status(&member.unit, member.weight)).collect(),
            draining: draining
                .iter()
                .map(|unit| status(unit, 0))
                .filter(|target| target.in_flight > 0)
                .collect(),
            page: self.saved.page.is_some(),
            releases,
        }
    }
}

/// A unit is the same while its name, its address and its release are.
fn is(unit: &Unit, target: &Target) -> bool {
    unit.name == target.unit
        && unit.release == target.release
        && target.address.parse() == Ok(unit.address)
}

/// The counts of a release: those the route has, or else those the unit brings back.
fn counts(
    releases: &mut Vec<(String, Arc<Counts>)>,
    release: &str,
    unit: Option<&Unit>,
) -> Arc<Counts> {
    if let Some((_, counts)) = releases.iter().find(|(name, _)| name == release) {
        return counts.clone();
    }
    let counts = unit.map_or_else(Arc::default, |unit| unit.counts.clone());
    releases.push((release.to_owned(), counts.clone()));
    counts
}
