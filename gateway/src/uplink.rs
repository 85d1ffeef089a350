//! stub while sketching
