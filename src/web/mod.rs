//! From requests to operations and back: routes, one file per action.
