//! What a proxy knows of the requests of one release.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCounts {
    /// Answers by status class: `2xx`, `5xx`, and `error` for no whole answer.
    /// `gone` are clients that went away first, `cut` is what a drain ended.
    pub status: BTreeMap<String, u64>,
    pub latency_ms_total: u64,
    /// How long whole answers took, WebSockets aside.
    #[serde(default)]
    pub latency: Latency,
    /// Requests on the way, over all units of the release.
    #[serde(default)]
    pub in_flight: u64,
}

/// A histogram: `counts[i]` answers took no longer than `le_ms[i]` and longer
/// than the bound before; the last count is of those beyond all bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub le_ms: Vec<u64>,
    pub counts: Vec<u64>,
}

impl ReleaseCounts {
    /// Requests that ended, however they did.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.status.values().sum()
    }
}

impl Latency {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the bound below which the share `quantile` of all answers lies, in
    /// milliseconds; `None` without answers, or when it lies beyond all bounds.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let mut seen = 0;
        for (bound, count) in self.le_ms.iter().zip(&self.counts) {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a share of counts need not be exact")]
            if seen as f64 >= quantile * total as f64 {
                return Some(*bound);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_that_covers_its_share() {
        let latency = Latency { le_ms: vec![1, 10, 100], counts: vec![90, 9, 0, 1] };
        let of = |quantile| latency.quantile_ms(quantile);
        assert_eq!((of(0.5), of(0.9), of(0.95), of(0.99)), (Some(1), Some(1), Some(10), Some(10)));
        assert_eq!(of(0.999), None);
        assert_eq!(Latency::default().quantile_ms(0.5), None);
    }
}
