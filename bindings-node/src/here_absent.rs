//! What stands for `here` where calls are not carried by the thread of JavaScript: nothing can have a `Here`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use everstream::Transport;
use napi::Env;

#[derive(Clone)]
pub(crate) struct Here(Infallible);

impl Here {
    pub(crate) fn of(_: Env) -> napi::Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) fn begin(&self, _: impl Future<Output = ()> + Send + 'static) {
        match self.0 {}
    }

    pub(crate) fn transport(&self, _: Arc<dyn Transport>, _: Duration) -> Arc<dyn Transport> {
        match self.0 {}
    }
}
