//! Where the codes of each step live: lifetimes, and slots that are reused.

/// Names an array of codes in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BufferId(pub(crate) usize);

/// Where an array of codes lives during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the plan: constant.
    Constant(usize),
    /// In a slot of the workspace.
    Slot(usize),
    /// Nowhere: nobody reads or writes it.
    Nowhere,
}

/// One array of codes, before it has a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    /// Bytes.
    pub(crate) size: usize,
    /// The step that writes it.
    pub(crate) first: usize,
    /// The last step that reads it.
    pub(crate) last: usize,
}

/// A slot for every lifetime, and the sizes of the slots.
///
/// Greedy in the order of the steps: the smallest free slot that is large enough, else the largest free one,
/// grown, else a new one. A slot is free again after the last reader's step, so that no step writes what it reads.
pub(crate) fn assign(lifetimes: &[Option<Lifetime>]) -> (Vec<Place>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).filter(|i| lifetimes[*i].is_some()).collect();
    order.sort_by_key(|i| (lifetimes[*i].map(|l| l.first), *i));
    let mut places = vec![Place::Nowhere; lifetimes.len()];
    let mut sizes: Vec<usize> = Vec::new();
    let mut busy_until: Vec<usize> = Vec::new();
    for i in order {
        let Some(life) = lifetimes[i] else { continue };
        let free = || (0..sizes.len()).filter(|s| busy_until[*s] < life.first);
        let slot = free()
            .filter(|s| sizes[*s] >= life.size)
            .min_by_key(|s| sizes[*s])
            .or_else(|| free().max_by_key(|s| sizes[*s]));
        let slot = slot.unwrap_or_else(|| {
            sizes.push(0);
            busy_until.push(0);
            sizes.len() - 1
        });
        sizes[slot] = sizes[slot].max(life.size);
        busy_until[slot] = life.last.max(life.first);
        places[i] = Place::Slot(slot);
    }
    (places, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_slots() {
        let chain: Vec<_> =
            (0..6).map(|i| Some(Lifetime { size: 10 * (i + 1), first: i, last: i + 1 })).collect();
        let (_, sizes) = assign(&chain);
        assert_eq!(sizes.len(), 2);
    }

    proptest! {
        #[test]
        fn no_two_live_arrays_share_a_slot(lives in prop::collection::vec((1usize..100, 0usize..20, 0usize..6), 1..40)) {
            let lives: Vec<_> =
                lives.into_iter().map(|(size, first, n)| Some(Lifetime { size, first, last: first + n })).collect();
            let (places, sizes) = assign(&lives);
            for (i, a) in lives.iter().enumerate() {
                let (Some(a), Place::Slot(slot)) = (a, places[i]) else { panic!() };
                prop_assert!(sizes[slot] >= a.size);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    let b = b.unwrap();
                    if places[j] == places[i] {
                        prop_assert!(a.last < b.first || b.last < a.first);
                    }
                }
            }
        }
    }
}
