//! Caches: entries that outlive runs, and what stages work on in their place.
//!
//! An entry is a volume that nobody writes any more, and a record: an empty volume
//! whose labels say whose entry it is, its key and its size. The record is made last,
//! so half an entry is none. A stage works on an overlay over the entry, or on an
//! empty volume; both belong to its attempt. After a pass that is copied into a new
//! entry, so stages that use one key at once each keep a whole one, and the later wins.
//!
//! An overlay names the volume below it by path, so the engine would let it be removed:
//! the overlay's label says what it stands on. Whoever removes an entry takes its record
//! away first and then looks for overlays; whoever makes an overlay then looks whether
//! the record is still there.

mod shelf;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use bollard::models::{ContainerCreateBody, Mount};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
};
use serde::Deserialize;
use shelf::{Entry, Shelf, now, record, touch};
use shipline_init::user;

use super::archive;
use super::clean::{remove_container, remove_volume};
use super::container::mount;
use super::copied::Copy;
use super::engine::{Engine, fault};
use super::helper::{self, Helper};
use super::image::Image;
use super::labels::{self, Kind, Labels, Part, cache_volume};
use super::layer::{Attempt, create_volume};
use crate::backend::entry::{find, scope};
use crate::backend::{AttemptSpec, BackendError, Kept, Restored, RunContext};

/// How often an entry may vanish between finding and using it.
const TRIES: usize = 3;

/// Entries that this process makes now: they have no record yet, and are not abandoned.
#[derive(Default)]
pub(super) struct Making {
    data: Mutex<HashSet<String>>,
    /// Whether it ever made one.
    begun: AtomicBool,
}

impl Making {
    fn begin(&self, data: &str) {
        self.begun.store(true, Ordering::Relaxed);
        self.lock().insert(data.to_owned());
    }

    fn end(&self, data: &str) {
        self.lock().remove(data);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.data.lock().expect("nobody panics with this lock")
    }
}

/// The caches of an attempt as its container gets them.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    pub(super) mounts: Vec<Mount>,
    /// Where they are mounted.
    pub(super) places: Vec<String>,
    /// What each cache began as.
    pub(super) restored: Vec<Option<Restored>>,
}

/// Makes what the caches of an attempt are mounted from.
pub(super) async fn prepare(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: &Image,
) -> Result<Prepared, BackendError> {
    let mut prepared = Prepared::default();
    if spec.caches.is_empty() {
        return Ok(prepared);
    }
    let in_home =
        spec.caches.iter().flat_map(|cache| &cache.paths).any(|path| path.starts_with('~'));
    let home = if in_home { home(engine, run, spec, image).await? } else { String::new() };
    for (index, cache) in spec.caches.iter().enumerate() {
        let found = restore(engine, run, spec, index).await?;
        let part = if found.is_some() { Part::Merged } else { Part::Upper };
        for (path, place) in cache.paths.iter().enumerate() {
            let place = match place.strip_prefix('~') {
                Some(below) => format!("{}{below}", home.trim_end_matches('/')),
                None => place.clone(),
            };
            if prepared.places.contains(&place) {
                let message = format!("the cache `{place}` is given twice, once below `~`");
                return Err(BackendError::User { code: Some("E091"), message });
            }
            let volume = cache_volume(spec.layer, (index, path), part);
            prepared.mounts.push(mount(volume, &place, false));
            prepared.places.push(place);
        }
        prepared.restored.push(found);
    }
    Ok(prepared)
}

/// Makes the volumes of one cache, over the entry that fits, and tells which that is.
async fn restore(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    index: usize,
) -> Result<Option<Restored>, BackendError> {
    let cache = &spec.caches[index];
    for _ in 0..TRIES {
        let shelf = Shelf::read(engine, &run.instance).await?;
        let Some(entry) = find(&shelf.entries, run, cache, Entry::told) else { break };
        for path in 0..cache.paths.len() {
            overlay(engine, run, spec, (index, path), &entry.data).await?;
        }
        // In this order; see the module.
        let shelf = Shelf::read(engine, &run.instance).await?;
        if shelf.holds(&entry.data) {
            touch(engine, &run.instance, entry).await;
            let own = entry.scope == scope(run, cache, run.trusted);
            return Ok(Some(Restored { key: entry.key.clone(), own }));
        }
        for path in 0..cache.paths.len() {
            let merged = cache_volume(spec.layer, (index, path), Part::Merged);
            remove_volume(engine, &merged).await?;
        }
    }
    for path in 0..cache.paths.len() {
        let upper = cache_volume(spec.layer, (index, path), Part::Upper);
        create_volume(engine, upper, of_attempt(engine, run, spec), None).await?;
    }
    Ok(None)
}

/// Volumes of an attempt: they go with it.
fn of_attempt(engine: &Engine, run: &RunContext, spec: &AttemptSpec) -> Labels {
    Attempt::of(spec).labels(engine, run, Kind::Cache)
}

async fn overlay(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    place: (usize, usize),
    data: &str,
) -> Result<(), BackendError> {
    let [upper, work, merged] =
        [Part::Upper, Part::Work, Part::Merged].map(|part| cache_volume(spec.layer, place, part));
    let labels = || of_attempt(engine, run, spec);
    let on_it = || labels().with(labels::CACHE_DATA, data);
    if engine.layering.copies() {
        let copy = on_copy(engine, run, spec, place);
        tokio::try_join!(
            remove_volume(engine, &copy.view),
            remove_volume(engine, &copy.work),
            remove_volume(engine, &upper),
        )?;
        tokio::try_join!(
            create_volume(engine, upper, labels(), None),
            create_volume(engine, work, labels(), None),
            create_volume(engine, merged, on_it(), None),
        )?;
        return copy.unpack(engine, &[(data.to_owned(), &format!("/{}", place.1))]).await;
    }
    let options = format!(
        "lowerdir={}/{},upperdir={},workdir={},redirect_dir=on,index=off,metacopy=off",
        engine.volume_path(data),
        place.1,
        engine.volume_path(&upper),
        engine.volume_path(&work),
    );
    tokio::try_join!(
        create_volume(engine, upper, labels(), None),
        create_volume(engine, work, labels(), None),
        create_volume(engine, merged, on_it(), Some(options)),
    )
    .map(drop)
}

/// What an attempt works on, where it is a copy of an entry.
fn on_copy(engine: &Engine, run: &RunContext, spec: &AttemptSpec, place: (usize, usize)) -> Copy {
    Copy {
        name: format!("{}-cache-{}-{}", spec.name, place.0, place.1),
        labels: Attempt::of(spec).labels(engine, run, Kind::Helper),
        view: cache_volume(spec.layer, place, Part::Merged),
        work: cache_volume(spec.layer, place, Part::Work),
    }
}

/// Where the home of the stage's user is: what its shell will take `~` for.
async fn home(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: &Image,
) -> Result<String, BackendError> {
    let of_image = || image.home.clone().unwrap_or_else(|| "/root".to_owned());
    let Some(name) = &spec.user else { return Ok(of_image()) };
    let passwd = passwd(engine, run, spec, image).await?;
    // A user that is not there is the stage's to report, when it starts.
    let found = user::find(name.split(':').next().unwrap_or(name), &passwd, "");
    Ok(found.ok().and_then(|user| user.home).unwrap_or_else(of_image))
}

/// Reads `/etc/passwd` of an image, out of a container that never starts.
async fn passwd(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    image: &Image,
) -> Result<String, BackendError> {
    let name = format!("{}-passwd", spec.name);
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec!["/never".to_owned()]),
        labels: Some(Attempt::of(spec).labels(engine, run, Kind::Helper).map()),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let created = engine.create_container(Some(options), body).await;
    created.map_err(|error| fault("a helper cannot be made", &error))?;
    let options = DownloadFromContainerOptionsBuilder::default().path("/etc/passwd").build();
    let (reader, pump) =
        archive::reader(engine.docker.download_from_container(&name, Some(options)));
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let mut archive = tar::Archive::new(reader);
        if let Some(Ok(entry)) = archive.entries().ok()?.next() {
            std::io::Read::read_to_string(&mut std::io::Read::take(entry, 1 << 20), &mut text)
                .ok()?;
        }
        Some(text)
    });
    let (text, ()) = tokio::join!(reading, pump);
    remove_container(engine, &name).await?;
    // An image without it has users that are numbers.
    Ok(text.ok().flatten().unwrap_or_default())
}

/// What `shipline-init cache keep` answers.
#[derive(Deserialize)]
struct Answer {
    kept: bool,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    why: String,
}

/// Makes an entry of what an attempt left in a cache.
pub(super) async fn keep(
    engine: &Engine,
    making: &Making,
    run: &RunContext,
    spec: &AttemptSpec,
    index: usize,
    restored: Option<&Restored>,
) -> Result<Kept, BackendError> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let data = format!("shipline-cache-{id}");
    making.begin(&data);
    let kept = make_entry(engine, run, spec, index, restored, &data).await;
    making.end(&data);
    if let Ok(Kept::Saved { .. }) = kept
        && let Err(error) = prune(engine, making, run, &data).await
    {
        tracing::warn!("old caches could not be removed: {error}");
    }
    kept
}

async fn make_entry(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    index: usize,
    restored: Option<&Restored>,
    data: &str,
) -> Result<Kept, BackendError> {
    let cache = &spec.caches[index];
    let kept = || Labels::new(&run.instance, Kind::Cache).with(labels::KEEP, "cache");
    let making = kept().with(labels::OWNER, &engine.owner).with(labels::CACHE_SAVED, now());
    create_volume(engine, data.to_owned(), making, None).await?;
    let answer = match copy(engine, run, spec, index, restored, data).await {
        Ok(answer) if answer.kept => answer,
        result => {
            drop(remove_volume(engine, data).await);
            let answer = result?;
            return Ok(match answer.why.as_str() {
                "unchanged" => Kept::Unchanged,
                _ => Kept::TooLarge { bytes: answer.bytes },
            });
        }
    };
    let entry = Entry {
        record: String::new(),
        data: data.to_owned(),
        scope: scope(run, cache, run.trusted),
        key: cache.key.clone(),
        bytes: answer.bytes,
        saved: now(),
        used: now(),
    };
    record(engine, &run.instance, &entry).await?;
    Ok(Kept::Saved { bytes: answer.bytes })
}

/// Copies what is in the cache, unless it began as an entry of that key and is the same.
async fn copy(
    engine: &Engine,
    run: &RunContext,
    spec: &AttemptSpec,
    index: usize,
    restored: Option<&Restored>,
    data: &str,
) -> Result<Answer, BackendError> {
    let cache = &spec.caches[index];
    let same = restored.is_some_and(|found| found.own && found.key == cache.key);
    let volume = |path, part| cache_volume(spec.layer, (index, path), part);
    let part = if restored.is_some() { Part::Merged } else { Part::Upper };
    let mut mounts = vec![mount(data.to_owned(), "/to", false)];
    let mut command =
        ["cache", "keep", &run.cache_limit.to_string(), "/to"].map(str::to_owned).to_vec();
    for path in 0..cache.paths.len() {
        mounts.push(mount(volume(path, part), &format!("/from/{path}"), true));
        command.push(format!("/from/{path}"));
    }
    if same && engine.layering.copies() {
        for path in 0..cache.paths.len() {
            let copy = on_copy(engine, run, spec, (index, path));
            copy.delta(engine, volume(path, Part::Upper)).await?;
        }
    }
    if same {
        command.push("--".to_owned());
        for path in 0..cache.paths.len() {
            mounts.push(mount(volume(path, Part::Upper), &format!("/upper/{path}"), true));
            command.push(format!("/upper/{path}"));
        }
    }
    let helper = Helper {
        name: format!("{}-keep-{index}", spec.name),
        labels: Attempt::of(spec).labels(engine, run, Kind::Helper),
        mounts,
        command,
        capabilities: vec!["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD"],
        stdin: false,
    };
    let said = helper::run(engine, helper).await?;
    serde_json::from_slice(&said).map_err(|error| BackendError::Infrastructure {
        part: "cache",
        message: format!("a cache cannot be kept: {error}"),
    })
}

/// Removes what is too much, and what is half made and abandoned.
async fn prune(
    engine: &Engine,
    making: &Making,
    run: &RunContext,
    saved: &str,
) -> Result<(), BackendError> {
    let shelf = Shelf::read(engine, &run.instance).await?;
    for data in shelf.surplus(run.cache_limit, saved) {
        for entry in shelf.entries.iter().filter(|entry| entry.data == data) {
            remove_volume(engine, &entry.record).await?;
        }
        // In this order; see the module. What is in use is abandoned later.
        let shelf = Shelf::read(engine, &run.instance).await?;
        if !shelf.in_use.contains(&data) && !shelf.holds(&data) {
            remove_volume(engine, &data).await?;
        }
    }
    remove_abandoned(engine, making, &run.instance).await
}

/// Removes what nobody makes or stands on any more, if this process made entries: a run
/// that has ended stands on nothing.
pub(super) async fn remove_abandoned(
    engine: &Engine,
    making: &Making,
    instance: &str,
) -> Result<(), BackendError> {
    if !making.begun.load(Ordering::Relaxed) {
        return Ok(());
    }
    let shelf = Shelf::read(engine, instance).await?;
    // Looked at after the list: what was listed and is not made any more has its record
    // in a newer one.
    let abandoned = shelf.abandoned(now(), &making.lock());
    if abandoned.is_empty() {
        return Ok(());
    }
    let shelf = Shelf::read(engine, instance).await?;
    for data in abandoned.iter().filter(|data| !shelf.holds(data)) {
        remove_volume(engine, data).await?;
    }
    Ok(())
}
