//! The table of routes: claim under the read lock, swap under the write lock.
//!
//! A request takes the read lock, finds its route, chooses a unit, counts itself
//! there and lets go. A swap replaces a route's whole set under the write lock;
//! once it is released nobody can claim a unit that left. From then on the
//! requests in flight on such a unit only become fewer, so waiting for none is
//! exact. No lock is held while bytes move.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use hyper::HeaderMap;

use super::connection::Connection;
use super::route::{Route, Wish};
use super::state::{Page, SavedRoute};
use super::unit::{Claim, Kind, Unit};
use crate::control::{DrainRequest, Drained, RouteStatus, Routes};

/// Units that had requests cut are remembered, so that asking again gets the same answer.
const REMEMBERED: usize = 64;

/// How long the connections of cut requests may take to end; they only have to be dropped.
const CUT_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Table {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    routes: BTreeMap<String, Route>,
    /// By host, longest path first: which route.
    prefixes: HashMap<String, Vec<Prefix>>,
    /// Units that left a route's set, with the name of the route.
    draining: Vec<(String, Arc<Unit>)>,
}

#[derive(Debug)]
struct Prefix {
    path: String,
    route: String,
}

/// What a request gets.
#[derive(Debug)]
pub enum Found {
    Claim {
        route: String,
        claim: Claim,
        wish: Wish,
        /// The path prefix that made it this route.
        prefix: String,
    },
    NoRoute,
    /// The request chose a release that no unit runs.
    NoRelease(String),
    /// The route has no unit that takes requests; it may have words for that.
    NoUnit(Option<Page>),
}

#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error(
        "unit `{unit}` still gets requests of route `{route}`: take it out of the targets first"
    )]
    InSet { route: String, unit: String },
}

impl Table {
    /// Claims a unit for a request to `path` of `host`.
    pub fn claim(
        &self,
        host: &str,
        path: &str,
        headers: &HeaderMap,
        connection: &Arc<Connection>,
    ) -> Found {
        let inner = self.read();
        let Some(Prefix { path: prefix, route: name }) = inner.find(host, path) else {
            return Found::NoRoute;
        };
        let route = &inner.routes[name];
        let wish = route.wish(connection.client.ip(), headers);
        match (route.choose(&wish, None, Instant::now()), wish) {
            (Some(unit), wish) => {
                let claim = unit.claim(connection);
                Found::Claim { route: name.clone(), claim, wish, prefix: prefix.clone() }
            }
            (None, Wish { release: Some(release), .. }) => Found::NoRelease(release),
            (None, _) => Found::NoUnit(route.saved.page.clone()),
        }
    }

    /// Claims another unit than `avoid` for a second attempt.
    pub fn claim_another(
        &self,
        route: &str,
        wish: &Wish,
        avoid: &Unit,
        connection: &Arc<Connection>,
    ) -> Option<Claim> {
        let inner = self.read();
        let unit = inner.routes.get(route)?.choose(wish, Some(avoid), Instant::now())?;
        Some(unit.claim(connection))
    }

    /// Replaces a route at once; the units that are no longer in its set drain from here on.
    pub fn set(&self, name: &str, saved: SavedRoute) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let before = inner.routes.remove(name);
        let draining: Vec<Arc<Unit>> = inner.draining_of(name).cloned().collect();
        let after = Route::new(saved, before.as_ref(), &draining);
        inner.draining.retain(|(_, unit)| !after.has(unit));
        for unit in after.units() {
            unit.admitted();
        }
        for unit in before.iter().flat_map(Route::units) {
            if !after.has(unit) {
                inner.draining.push((name.to_owned(), unit.clone()));
            }
        }
        inner.routes.insert(name.to_owned(), after);
        inner.tidy();
    }

    /// All routes, as they are in the file.
    pub fn saved(&self) -> BTreeMap<String, SavedRoute> {
        let inner = self.read();
        inner.routes.iter().map(|(name, route)| (name.clone(), route.saved.clone())).collect()
    }

    /// Makes these all the routes.
    pub fn replace(&self, routes: BTreeMap<String, SavedRoute>) {
        let gone: Vec<String> =
            self.read().routes.keys().filter(|name| !routes.contains_key(*name)).cloned().collect();
        for name in gone {
            self.remove(&name);
        }
        for (name, route) in routes {
            self.set(&name, route);
        }
    }

    pub fn remove(&self, name: &str) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = inner.routes.remove(name) {
            for unit in before.units() {
                inner.draining.push((name.to_owned(), unit.clone()));
            }
        }
        inner.tidy();
    }

    /// Waits until a unit that left the set is idle; cuts what is left when its time is over.
    ///
    /// Of a unit nobody knows there is nothing in flight. Dropping the future
    /// leaves the requests alone.
    pub async fn drain(&self, route: &str, request: &DrainRequest) -> Result<Drained, DrainError> {
        let began = tokio::time::Instant::now();
        let unit = &request.unit;
        let units = self.read().outside(route, unit)?;
        let websockets = request.websockets_timeout_ms.unwrap_or(request.timeout_ms);
        tokio::try_join!(
            self.drain_kind(route, unit, &units, Kind::Request, request.timeout_ms),
            self.drain_kind(route, unit, &units, Kind::WebSocket, websockets),
        )?;
        // Requests that became WebSockets after there was none to wait for: what is left of
        // the time of those is theirs.
        let passed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let left = websockets.saturating_sub(passed);
        self.drain_kind(route, unit, &units, Kind::WebSocket, left).await?;
        Ok(Drained {
            cut: units.iter().map(|unit| unit.cut_count()).sum(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    async fn drain_kind(
        &self,
        route: &str,
        unit: &str,
        units: &[Arc<Unit>],
        kind: Kind,
        timeout_ms: u64,
    ) -> Result<(), DrainError> {
        let idle = async || {
            for unit in units {
                unit.idle(kind).await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(timeout_ms), idle()).await.is_ok() {
            return Ok(());
        }
        {
            // Looked at again and cut under one lock: a unit that came back meanwhile is let alone.
            let inner = self.read();
            for unit in &inner.outside(route, unit)? {
                unit.cut(kind);
            }
        }
        if tokio::time::timeout(CUT_DEADLINE, idle()).await.is_err() {
            tracing::error!(route, unit, "cut requests of unit {unit} did not end");
        }
        Ok(())
    }

    pub fn status(&self) -> Routes {
        let inner = self.read();
        let routes = inner
            .routes
            .iter()
            .map(|(name, route)| (name.clone(), route.status(inner.draining_of(name))));
        Routes { routes: routes.collect(), listen: Vec::new() }
    }

    pub fn status_of(&self, name: &str) -> Option<RouteStatus> {
        let inner = self.read();
        let route = inner.routes.get(name)?;
        Some(route.status(inner.draining_of(name)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A host that is named goes before `*`, and a longer path before a shorter one.
    fn find(&self, host: &str, path: &str) -> Option<&Prefix> {
        let of = |host: &str| {
            let prefixes = self.prefixes.get(host)?;
            prefixes.iter().find(|prefix| covers(&prefix.path, path))
        };
        of(host).or_else(|| of("*"))
    }

    fn draining_of(&self, route: &str) -> impl Iterator<Item = &Arc<Unit>> {
        self.draining.iter().filter(move |(of, _)| of == route).map(|(_, unit)| unit)
    }

    /// The units of that name that left the set; an error if one is still in it.
    fn outside(&self, route: &str, unit: &str) -> Result<Vec<Arc<Unit>>, DrainError> {
        let set = self.routes.get(route).into_iter().flat_map(Route::units);
        if set.into_iter().any(|member| member.name == unit) {
            return Err(DrainError::InSet { route: route.to_owned(), unit: unit.to_owned() });
        }
        let outside = self.draining_of(route).filter(|out| out.name == unit);
        Ok(outside.cloned().collect())
    }

    /// Forgets drained units and indexes the routes anew.
    fn tidy(&mut self) {
        let mut remembered = 0;
        self.draining.reverse();
        self.draining.retain(|(_, unit)| {
            if unit.in_flight() > 0 {
                return true;
            }
            remembered += usize::from(unit.cut_count() > 0);
            unit.cut_count() > 0 && remembered <= REMEMBERED
        });
        self.draining.reverse();
        self.prefixes.clear();
        for (name, route) in &self.routes {
            for entry in &route.saved.matches {
                let prefix = Prefix {
                    path: entry.path.trim_end_matches('/').to_owned(),
                    route: name.clone(),
                };
                let host = entry.host.to_ascii_lowercase();
                self.prefixes.entry(host).or_default().push(prefix);
            }
        }
        for prefixes in self.prefixes.values_mut() {
            prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.path.len()));
        }
    }
}

/// `/api` covers `/api` and `/api/users`, not `/apis`; the empty prefix covers all.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
