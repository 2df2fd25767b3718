//! The hand by itself: sockets in a folder of its own, and a judge that the test is.
