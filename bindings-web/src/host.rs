//! The browser as the host of the driver: its clock, timers and tasks.

use std::time::Duration;

use everstream::{BoxFuture, Host};
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(ring: &Closure<dyn FnMut()>, millis: f64) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);

    #[wasm_bindgen(catch, js_namespace = crypto, js_name = getRandomValues)]
    fn random_values(bytes: &mut [u8]) -> Result<JsValue, JsValue>;
}

/// `setTimeout` takes what is longer for nothing at all. A timer that rings too early is set anew.
const LONGEST_MILLIS: f64 = 2_147_483_647.0;

/// Gives the driver its host. Can be repeated.
pub(crate) fn install() {
    everstream::set_host(Browser);
}

struct Browser;

impl Host for Browser {
    fn now(&self) -> Duration {
        Duration::from_secs_f64((performance_now() / 1000.0).max(0.0))
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs_f64((js_sys::Date::now() / 1000.0).max(0.0))
    }

    fn random(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        match random_values(&mut bytes) {
            Ok(_) => u64::from_ne_bytes(bytes),
            // A platform without it. Nothing secret is made of this.
            Err(_) => js_sys::Math::random().to_bits().rotate_left(32) ^ js_sys::Math::random().to_bits(),
        }
    }

    fn sleep(&self, time: Duration) -> BoxFuture<()> {
        let (sender, rung) = oneshot::channel();
        let mut sender = Some(sender);
        let ring = Closure::new(move || {
            // Whoever slept may be gone.
            let _ = sender.take().map(|sender| sender.send(()));
        });
        let millis = (time.as_secs_f64() * 1000.0).ceil().min(LONGEST_MILLIS);
        let timer = SendWrapper::new(Timer { id: set_timeout(&ring, millis), _ring: ring });
        Box::pin(async move {
            let _timer = timer;
            let _ = rung.await;
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        spawn_local(task);
    }
}

/// Rings once, unless it is dropped before.
struct Timer {
    id: JsValue,
    _ring: Closure<dyn FnMut()>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        clear_timeout(&self.id);
    }
}
