//! TODO(owner): module audience.
