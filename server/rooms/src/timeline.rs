//! TODO(owner): module timeline.
