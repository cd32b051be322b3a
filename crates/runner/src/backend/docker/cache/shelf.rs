//! The entries that an engine has of an instance: which there are, which go.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::Volume;
use bollard::query_parameters::ListVolumesOptionsBuilder;

use crate::backend::BackendError;
use crate::backend::docker::clean::{has_all, remove_volume};
use crate::backend::docker::engine::{Engine, Owner, fault};
use crate::backend::docker::labels::{self, Kind, Labels, filter};
use crate::backend::docker::layer::create_volume;

/// What is half made and has no living maker is removed after so long.
const HALF_MADE: Duration = Duration::from_secs(3600);

/// One record of an entry; after it was used there may be two for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) record: String,
    pub(super) data: String,
    pub(super) scope: String,
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) saved: u64,
    pub(super) used: u64,
}

impl Entry {
    pub(super) fn told(&self) -> (&str, &str, u64) {
        (&self.scope, &self.key, self.saved)
    }
}

/// All entries of an instance.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) entries: Vec<Entry>,
    /// Volumes that hold entries, or will, or did: made when, by whom.
    data: BTreeMap<String, (u64, Owner)>,
    /// What overlays stand on.
    pub(super) in_use: HashSet<String>,
}

impl Shelf {
    pub(super) async fn read(engine: &Engine, instance: &str) -> Result<Self, BackendError> {
        let of = [(labels::INSTANCE, instance), (labels::KIND, Kind::Cache.text())];
        let options = ListVolumesOptionsBuilder::default().filters(&filter(&of)).build();
        let listed = engine.volumes.list_volumes(Some(options)).await;
        let listed = listed.map_err(|error| fault("caches cannot be listed", &error))?;
        let mut shelf = Self::default();
        for volume in listed.volumes.unwrap_or_default() {
            if has_all(&volume.labels, &of) {
                shelf.add(&volume);
            }
        }
        // A record whose volume somebody else removed is no entry.
        let Self { entries, data, .. } = &mut shelf;
        entries.retain(|entry| data.contains_key(&entry.data));
        Ok(shelf)
    }

    fn add(&mut self, volume: &Volume) {
        let label = |name| volume.labels.get(name).cloned();
        let number = |name| label(name).and_then(|text| text.parse::<u64>().ok());
        match (label(labels::CACHE_SCOPE), label(labels::CACHE_DATA)) {
            (Some(scope), Some(data)) => self.entries.push(Entry {
                data,
                scope,
                key: label(labels::CACHE_KEY).unwrap_or_default(),
                bytes: number(labels::CACHE_BYTES).unwrap_or(0),
                saved: number(labels::CACHE_SAVED).unwrap_or(0),
                used: number(labels::CACHE_USED).unwrap_or(0),
                record: volume.name.clone(),
            }),
            (None, Some(data)) => {
                self.in_use.insert(data);
            }
            (_, None) if volume.labels.contains_key(labels::KEEP) => {
                let owner = label(labels::OWNER).unwrap_or_default();
                let made = number(labels::CACHE_SAVED).unwrap_or(0);
                self.data.insert(volume.name.clone(), (made, Owner::parse(&owner)));
            }
            _ => {}
        }
    }

    pub(super) fn holds(&self, data: &str) -> bool {
        self.entries.iter().any(|entry| entry.data == data)
    }

    /// What is to be removed so that all entries together take at most `limit`: what a
    /// later entry of the same key replaced, then what was used longest ago, but not `saved`.
    pub(super) fn surplus(&self, limit: u64, saved: &str) -> Vec<String> {
        let mut newest: BTreeMap<(&str, &str), &Entry> = BTreeMap::new();
        for entry in &self.entries {
            let of_key = newest.entry((&entry.scope, &entry.key)).or_insert(entry);
            if (entry.saved, &entry.data, entry.used) > (of_key.saved, &of_key.data, of_key.used) {
                *of_key = entry;
            }
        }
        let mut stay: Vec<&Entry> = newest.into_values().collect();
        stay.sort_by_key(|entry| (entry.data != saved, std::cmp::Reverse(entry.used)));
        let mut bytes = 0_u64;
        stay.retain(|entry| {
            let fits = bytes.saturating_add(entry.bytes) <= limit || entry.data == saved;
            if fits {
                bytes = bytes.saturating_add(entry.bytes);
            }
            fits
        });
        let stay: HashSet<&str> = stay.iter().map(|entry| entry.data.as_str()).collect();
        let goes = self.entries.iter().map(|entry| &entry.data);
        let mut goes: Vec<String> =
            goes.filter(|data| !stay.contains(data.as_str())).cloned().collect();
        goes.sort();
        goes.dedup();
        goes
    }

    /// Volumes without a record that nobody makes or stands on any more.
    pub(super) fn abandoned(&self, now: u64, making: &HashSet<String>) -> Vec<String> {
        let old = |made: u64| u128::from(now.saturating_sub(made)) > HALF_MADE.as_millis();
        let data = self.data.iter().filter(|(name, (made, owner))| {
            let alone = !self.holds(name) && !self.in_use.contains(*name);
            let over = match owner {
                Owner::Own => !making.contains(*name),
                Owner::Dead => true,
                Owner::Living => old(*made),
            };
            alone && over
        });
        data.map(|(name, _)| name.clone()).collect()
    }
}

/// Makes the record of an entry.
pub(super) async fn record(
    engine: &Engine,
    instance: &str,
    entry: &Entry,
) -> Result<(), BackendError> {
    let labels = Labels::new(instance, Kind::Cache)
        .with(labels::KEEP, "cache")
        .with(labels::CACHE_SCOPE, &entry.scope)
        .with(labels::CACHE_KEY, &entry.key)
        .with(labels::CACHE_DATA, &entry.data)
        .with(labels::CACHE_BYTES, entry.bytes)
        .with(labels::CACHE_SAVED, entry.saved)
        .with(labels::CACHE_USED, entry.used);
    let name = format!("shipline-cache-{}", uuid::Uuid::now_v7().simple());
    create_volume(engine, name, labels, None).await
}

/// Notes that an entry was used: labels cannot be changed, so its record is made anew.
pub(super) async fn touch(engine: &Engine, instance: &str, entry: &Entry) {
    let noted = async {
        record(engine, instance, &Entry { used: now(), ..entry.clone() }).await?;
        remove_volume(engine, &entry.record).await
    };
    if let Err(error) = noted.await {
        tracing::debug!("the use of a cache could not be noted: {error}");
    }
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, at: u64) -> Entry {
        Entry {
            record: format!("record-{key}-{at}"),
            data: format!("{key}-{at}"),
            scope: "s".to_owned(),
            key: key.to_owned(),
            bytes: 10,
            saved: at,
            used: at,
        }
    }

    fn shelf(entries: &[Entry]) -> Shelf {
        let data = entries.iter().map(|entry| (entry.data.clone(), (0, Owner::Dead))).collect();
        Shelf { entries: entries.to_vec(), data, in_use: HashSet::new() }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_was_just_saved_stays() {
        let mut entries = vec![entry("a", 1), entry("b", 2), entry("c", 3)];
        entries[0].used = 9;
        assert_eq!(shelf(&entries).surplus(30, "c-3"), [""; 0]);
        assert_eq!(shelf(&entries).surplus(20, "c-3"), ["b-2"]);
        assert_eq!(shelf(&entries).surplus(5, "c-3"), ["a-1", "b-2"]);
        entries.push(entry("a", 4));
        assert_eq!(shelf(&entries).surplus(100, "a-4"), ["a-1"], "a later one replaced it");
    }

    #[test]
    fn only_what_nobody_makes_or_uses_is_abandoned() {
        let own = Owner::parse("1:0");
        assert_eq!(own, Owner::Dead);
        let mut shelf = shelf(&[entry("a", 1)]);
        let hour = u64::try_from(HALF_MADE.as_millis()).unwrap();
        shelf.data.insert("making".to_owned(), (hour, Owner::Own));
        shelf.data.insert("dead".to_owned(), (hour, Owner::Dead));
        shelf.data.insert("used".to_owned(), (0, Owner::Dead));
        shelf.in_use.insert("used".to_owned());
        shelf.data.insert("slow".to_owned(), (hour, Owner::Living));
        shelf.data.insert("replaced".to_owned(), (hour, Owner::Own));
        let making = HashSet::from(["making".to_owned()]);
        assert_eq!(shelf.abandoned(hour + 5, &making), ["dead", "replaced"]);
        assert_eq!(shelf.abandoned(2 * hour + 5, &making), ["dead", "replaced", "slow"]);
    }
}
