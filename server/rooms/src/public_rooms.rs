//! TODO(owner): module public_rooms.
