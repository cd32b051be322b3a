//! Changes of routes and leases: who may make them, and in which order.
//!
//! They are made one at a time: checked, made durable, put in force, answered.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::check::{
    CheckError, check_lease, check_name, check_options, check_page, check_route, check_taken,
};
use super::leases::{Ends, LeaseError, Now};
use super::state::{Saved, SavedFence, SavedRoute, StateError, StateFile};
use super::table::{DrainError, Table};
use super::upgrade::follow::Predecessors;
use crate::control::{
    ClientError, DrainRequest, Drained, Lease, LeaseRequest, Leases, Page, RouteSpec, RouteStatus,
    Routes,
};

/// The table and what of it is durable.
#[derive(Debug)]
pub struct Control {
    table: Arc<Table>,
    /// None when the proxy is stopping: somebody else may have the file by now.
    state: Mutex<Option<Durable>>,
    /// Proxies that have to hear what changes.
    predecessors: Predecessors,
    /// Where clients connect to without TLS.
    listen: Vec<SocketAddr>,
}

/// What is durable, and when of it the leases end.
#[derive(Debug)]
struct Durable {
    file: StateFile,
    ends: Ends,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("fence {fence} is lower than {in_force}, which is in force for route `{route}`")]
    Fenced { route: String, fence: u64, in_force: u64 },
    #[error("there is no route `{route}`")]
    NoRoute { route: String },
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the change is not yet in force at a proxy that drains after an upgrade")]
    Predecessor(#[from] ClientError),
    #[error("the proxy is stopping")]
    Stopping,
}

impl Control {
    /// Puts in force what the file says.
    pub fn new(file: StateFile, predecessors: Vec<PathBuf>) -> Control {
        let table = Table::default();
        for (name, route) in &file.saved().routes {
            table.set(name, route.clone());
        }
        let ends = Ends::restored(file.saved(), Now::read());
        Control {
            table: Arc::new(table),
            state: Mutex::new(Some(Durable { file, ends })),
            predecessors: Predecessors::new(predecessors),
            listen: Vec::new(),
        }
    }

    /// Says where clients connect to without TLS.
    pub fn listening(self, listen: Vec<SocketAddr>) -> Control {
        Control { listen, ..self }
    }

    pub fn predecessors(&self) -> &Predecessors {
        &self.predecessors
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub fn put(&self, name: &str, spec: RouteSpec) -> Result<RouteStatus, ChangeError> {
        check_name(name)?;
        check_route(&spec.matches, &spec.targets)?;
        check_options(&spec.options)?;
        let lease = spec.options.lease.clone();
        self.change(name, spec.fence, lease.as_deref(), |saved| {
            check_taken(name, &spec.matches, saved)?;
            let before = saved.routes.get(name);
            let same = before.is_some_and(|before| {
                before.matches == spec.matches
                    && before.targets == spec.targets
                    && before.options == spec.options
            });
            let generation = before
                .map(|before| before.generation)
                .or_else(|| saved.deleted.get(name).map(|deleted| deleted.generation))
                .unwrap_or(0);
            let route = SavedRoute {
                fence: spec.fence,
                generation: if same { generation } else { generation + 1 },
                matches: spec.matches,
                // A page lasts until somebody serves again.
                page: before
                    .filter(|_| spec.targets.is_empty())
                    .and_then(|before| before.page.clone()),
                targets: spec.targets,
                options: spec.options,
            };
            saved.deleted.remove(name);
            saved.routes.insert(name.to_owned(), route);
            Ok(())
        })?;
        self.table.status_of(name).ok_or_else(|| ChangeError::NoRoute { route: name.to_owned() })
    }

    pub fn put_page(&self, name: &str, page: Page) -> Result<(), ChangeError> {
        check_name(name)?;
        check_page(&page)?;
        self.change(name, page.fence, None, |saved| {
            let Some(route) = saved.routes.get_mut(name) else {
                let route = name.to_owned();
                return Err(ChangeError::NoRoute { route });
            };
            route.fence = page.fence;
            route.page = Some(page);
            Ok(())
        })
    }

    pub fn delete(&self, name: &str, fence: u64) -> Result<(), ChangeError> {
        check_name(name)?;
        self.change(name, fence, None, |saved| {
            let generation = match saved.routes.remove(name) {
                Some(route) => route.generation,
                None => saved.deleted.get(name).map_or(0, |deleted| deleted.generation),
            };
            let deleted = SavedFence { fence, generation };
            saved.deleted.insert(name.to_owned(), deleted);
            Ok(())
        })
    }

    pub async fn drain(&self, name: &str, request: &DrainRequest) -> Result<Drained, ChangeError> {
        let ours = async { Ok::<_, ChangeError>(self.table.drain(name, request).await?) };
        let theirs = async { Ok(self.predecessors.drain(name, request).await?) };
        let (drained, cut) = tokio::try_join!(ours, theirs)?;
        Ok(Drained { cut: drained.cut + cut, ..drained })
    }

    /// All routes, with what is in flight here and at proxies that drain.
    pub async fn status(&self) -> Routes {
        let mut routes = self.table.status();
        self.predecessors.add_to(&mut routes).await;
        routes.listen.clone_from(&self.listen);
        routes
    }

    /// Makes what was changed known to proxies that drain.
    pub async fn tell_predecessors(&self) -> Result<(), ChangeError> {
        Ok(self.predecessors.tell(|| self.table.saved()).await?)
    }

    pub fn leases(&self) -> Result<Leases, ChangeError> {
        let state = self.lock();
        let Durable { file, ends } = state.as_ref().ok_or(ChangeError::Stopping)?;
        Ok(ends.held(file.saved(), Now::read()))
    }

    pub fn take_lease(&self, name: &str, request: &LeaseRequest) -> Result<Lease, ChangeError> {
        check_lease(request)?;
        let mut state = self.lock();
        let Durable { file, ends } = state.as_mut().ok_or(ChangeError::Stopping)?;
        let now = Now::read();
        let mut next = file.saved().clone();
        let lease = ends.take(&mut next, name, request, now)?;
        file.save(next)?;
        ends.begin(name, request.ttl_ms, now);
        Ok(lease)
    }

    pub fn release_lease(&self, name: &str, fence: u64) -> Result<(), ChangeError> {
        let mut state = self.lock();
        let Durable { file, .. } = state.as_mut().ok_or(ChangeError::Stopping)?;
        let mut next = file.saved().clone();
        Ends::release(&mut next, name, fence)?;
        if next != *file.saved() {
            file.save(next)?;
        }
        Ok(())
    }

    /// Gives the state file back; nothing can be changed from here on.
    pub fn stop(&self) {
        self.lock().take();
    }

    /// Lets `give` pass the lock of the file on; nothing changes until it returns,
    /// and nothing after it succeeded.
    pub fn give_up(&self, give: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        let held = state.as_ref().ok_or_else(|| io::Error::other("the proxy is stopping"))?;
        give(held.file.lock())?;
        state.take();
        Ok(())
    }

    /// Fence, then the change, then the file, then the table; all or nothing.
    fn change(
        &self,
        name: &str,
        fence: u64,
        lease: Option<&str>,
        change: impl FnOnce(&mut Saved) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut state = self.lock();
        let Durable { file, .. } = state.as_mut().ok_or(ChangeError::Stopping)?;
        let saved = file.saved();
        let before = saved.routes.get(name);
        let deleted = saved.deleted.get(name).map(|deleted| deleted.fence);
        // The lease the route has, and the one it gets.
        let leases = before.and_then(|before| before.options.lease.as_deref());
        let leases = leases.into_iter().chain(lease);
        let leases = leases.filter_map(|lease| saved.leases.get(lease)).map(|lease| lease.fence);
        let in_force =
            before.map(|before| before.fence).or(deleted).into_iter().chain(leases).max();
        if let Some(in_force) = in_force.filter(|in_force| fence < *in_force) {
            return Err(ChangeError::Fenced { route: name.to_owned(), fence, in_force });
        }
        let mut next = saved.clone();
        change(&mut next)?;
        if next == *saved {
            return Ok(());
        }
        let route = next.routes.get(name).cloned();
        file.save(next)?;
        match route {
            Some(route) => self.table.set(name, route),
            None => self.table.remove(name),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Durable>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
