//! Publication: the one transaction that makes events visible.
