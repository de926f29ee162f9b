//! TODO(owner): module visibility.
