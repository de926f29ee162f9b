//! [Pushers](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers): stored for the clients that
//! set them; nothing is pushed yet.
