//! Units for who watches: how they fare, and what the proxy does.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::gate::{check_of, look};
use super::{ProcessTarget, key_of};
use crate::health::Look;
use crate::{Inspected, Life, Observed, Spec, TargetError};

impl ProcessTarget {
    pub(super) async fn inspect_units(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        let units = self.units(&key_of(spec)).await?;
        let check = check_of(spec);
        let admitted = units.iter().filter(|unit| unit.seen.admitted);
        let lives = admitted.map(async |unit| {
            let complaint = match look(unit, &check).await? {
                Look::Good => None,
                Look::Bad(why) | Look::Dead(why) | Look::Other(why) => Some(why),
            };
            let beginning = unit.process.map(|it| format!("{} {}", it.pid, it.started));
            // Nobody but a deployment starts a process again.
            let life = Life { beginning: beginning.unwrap_or_default(), restarts: 0, complaint };
            Ok::<_, TargetError>((unit.seen.unit.clone(), life))
        });
        let lives: BTreeMap<_, _> = try_join_all(lives).await?.into_iter().collect();
        let route = self.traffic.seen(&spec.route()).await?;
        let units = units.into_iter().map(|unit| unit.seen).collect();
        let observed = Observed { units, ..Observed::default() };
        Ok(Inspected { observed, lives, route })
    }
}
