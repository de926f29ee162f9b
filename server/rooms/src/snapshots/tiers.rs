//! When blocks merge.
//!
//! Blocks are of the same tier when their sizes lie between the same powers of [`FANOUT`]. When [`FANOUT`] blocks at
//! the end of a snapshot are of the newest one's tier or below, they merge. So each tier has fewer than that many
//! blocks, and a tuple is rewritten once per tier. With 4, a room of 70,000 entries has eight tiers: at most 24 blocks.

use super::MAX_BLOCKS;

const FANOUT: u64 = 4;

fn tier(len: u64) -> u32 {
    len.max(1).ilog(FANOUT)
}

/// How many blocks at the end of a list with these sizes become one; 1 if none merge.
pub(super) fn merging(lens: &[u64]) -> usize {
    let mut merging = 1;
    loop {
        // As if those that merge already were one.
        let (rest, merged) = lens.split_at(lens.len() - merging);
        let tier_of_last = tier(merged.iter().sum());
        let below = rest.iter().rev().take_while(|len| tier(**len) <= tier_of_last).count();
        if below as u64 + 1 >= FANOUT {
            merging += below;
        } else if rest.len() + 1 > MAX_BLOCKS {
            // Sizes that rise and fall could get here; whatever they are, the bound holds.
            merging += 1;
        } else {
            return merging;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(lens: &mut Vec<u64>, len: u64) -> u64 {
        lens.push(len);
        let merging = merging(lens);
        let merged = lens.split_off(lens.len() - merging).iter().sum();
        lens.push(merged);
        if merging == 1 { len } else { merged }
    }

    #[test]
    fn single_changes_stay_few_blocks_and_are_rewritten_seldom() {
        let mut lens = Vec::new();
        let (mut most, mut written) = (0, 0);
        for _ in 0..70_000 {
            written += push(&mut lens, 1);
            most = most.max(lens.len());
        }
        assert_eq!(lens.iter().sum::<u64>(), 70_000);
        assert!(most <= 24, "{most} blocks");
        assert!(written <= 70_000 * 9, "{written} tuples written");
    }

    #[test]
    fn a_small_change_leaves_a_large_block_alone() {
        assert_eq!(merging(&[50_000]), 1);
        assert_eq!(merging(&[50_000, 1]), 1);
        assert_eq!(merging(&[50_000, 1, 1, 1]), 1);
        assert_eq!(merging(&[50_000, 1, 1, 1, 1]), 4);
        assert_eq!(merging(&[50_000, 5, 5, 5, 1, 1, 1, 1]), 7);
    }

    proptest! {
        #[test]
        fn never_more_blocks_than_allowed(sizes in prop::collection::vec(1..100_000_u64, 0..400)) {
            let mut lens = Vec::new();
            for size in sizes {
                push(&mut lens, size);
                prop_assert!(lens.len() <= MAX_BLOCKS);
            }
        }
    }
}
