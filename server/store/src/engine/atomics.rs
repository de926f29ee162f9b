//! FoundationDB's atomic operations on little-endian integers of any width.

use std::cmp::Ordering;

use crate::AtomicOp;

/// The value after `op`. The result is as wide as the operand: a shorter value is extended with zeros, a longer one is cut.
pub(crate) fn apply(op: AtomicOp, current: Option<&[u8]>, operand: &[u8]) -> Vec<u8> {
    let Some(current) = current else { return operand.to_vec() };
    let byte = |index: usize| current.get(index).copied().unwrap_or(0);
    match op {
        AtomicOp::Add => {
            let mut carry = 0;
            let add = |(index, &operand): (usize, &u8)| {
                let sum = u16::from(byte(index)) + u16::from(operand) + carry;
                carry = sum >> 8;
                sum.to_le_bytes()[0]
            };
            operand.iter().enumerate().map(add).collect()
        }
        AtomicOp::Min | AtomicOp::Max => {
            let current: Vec<u8> = (0..operand.len()).map(byte).collect();
            let order = current.iter().rev().cmp(operand.iter().rev());
            let keep = if op == AtomicOp::Min { order == Ordering::Less } else { order == Ordering::Greater };
            if keep { current } else { operand.to_vec() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_the_width_of_the_operand() {
        use AtomicOp::{Add, Max, Min};
        for (op, current, operand, expected) in [
            (Add, None, vec![5, 0], vec![5, 0]),
            (Add, Some(vec![250]), vec![10, 0], vec![4, 1]),
            (Add, Some(vec![255, 255]), vec![1, 0], vec![0, 0]),
            (Add, Some(vec![1, 2, 3]), vec![1], vec![2]),
            (Add, Some(vec![7, 0]), vec![255, 255], vec![6, 0]),
            (Add, Some(vec![7]), vec![], vec![]),
            (Min, None, vec![9], vec![9]),
            (Min, Some(vec![1, 2]), vec![2, 1], vec![2, 1]),
            (Min, Some(vec![3]), vec![2, 1], vec![3, 0]),
            (Min, Some(vec![3, 0, 1]), vec![4, 0], vec![3, 0]),
            (Max, None, vec![9], vec![9]),
            (Max, Some(vec![1, 2]), vec![2, 1], vec![1, 2]),
            (Max, Some(vec![3, 0, 1]), vec![4, 0], vec![4, 0]),
            (Max, Some(vec![5]), vec![4, 0], vec![5, 0]),
        ] {
            assert_eq!(apply(op, current.as_deref(), &operand), expected, "{op:?} {current:?} {operand:?}");
        }
    }
}
