//! TODO(owner): module relations.
