//! [User-interactive authentication](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api).
