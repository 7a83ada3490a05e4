//! Chromium, driven as a person would use it (<https://www.w3.org/TR/webdriver2/>).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use thirtyfour::prelude::*;
use uuid::Uuid;

use super::client::builder;
use super::eventually::{PATIENCE, eventually, until};
use super::process::Process;

/// Programs of the driver, and of the browser that it starts.
const DRIVERS: [&str; 2] = ["chromedriver", "/usr/lib/chromium/chromedriver"];
/// Maximum time of a script in the page.
const SCRIPT_TIMEOUT: Duration = Duration::from_mins(1);

/// Finds texts whose contrast is below what WCAG 2.2 asks for at level AA, and controls without a name.
pub(crate) const AUDIT: &str = r#"
const rgb = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const light = ([r, g, b]) => {
  const part = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
};
const grounds = (element) => {
  for (let at = element; at !== null; at = at.parentElement) {
    const style = getComputedStyle(at);
    const picture = style.backgroundImage.match(/rgba?\([^)]*\)/g);
    if (picture) return picture.map(rgb);
    const colour = rgb(style.backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return [colour];
  }
  return [[255, 255, 255]];
};
const faults = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (text === "" || !element.checkVisibility({ visibilityProperty: true }) || element.closest("script, style, template, noscript, .sr, :disabled, .gone, .skip, option")) continue;
  const style = getComputedStyle(element);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const own = light(rgb(style.color));
  for (const ground of grounds(element)) {
    const other = light(ground);
    const contrast = (Math.max(own, other) + 0.05) / (Math.min(own, other) + 0.05);
    if (contrast < (isLarge ? 3 : 4.5)) faults.push(`${text}: ${contrast.toFixed(2)}`);
  }
}
for (const control of document.querySelectorAll("button, a, input, select")) {
  if (!control.checkVisibility()) continue;
  const label = control.labels?.[0]?.textContent ?? "";
  const name = control.getAttribute("aria-label") ?? (control.textContent.trim() || label.trim());
  if (name === "") faults.push(`${control.outerHTML} has no name`);
}
if (document.documentElement.scrollWidth > innerWidth) faults.push(`${document.documentElement.scrollWidth} wide`);
return faults;
"#;

/// A browser with one page.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    _process: Process,
    profile: PathBuf,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Width in CSS pixels.
    pub(crate) width: u32,
    /// `light` or `dark`.
    pub(crate) scheme: &'static str,
}

impl Look {
    /// A phone and a desktop, in light and dark.
    pub(crate) const ALL: [Self; 4] = [
        Self { width: 390, scheme: "light" },
        Self { width: 390, scheme: "dark" },
        Self { width: 1_440, scheme: "light" },
        Self { width: 1_440, scheme: "dark" },
    ];
    pub(crate) const DESKTOP: Self = Self { width: 1_440, scheme: "light" };
}

impl Browser {
    /// A new browser; `None` if none is installed.
    pub(crate) async fn start() -> Option<Self> {
        let driver = DRIVERS
            .into_iter()
            .find(|driver| Command::new(driver).arg("--version").output().is_ok())?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Process::start(Command::new(driver).arg(format!("--port={port}")));
        let url = format!("http://127.0.0.1:{port}");
        let client = builder().build().unwrap();
        until("the driver listens", async || {
            client.get(format!("{url}/status")).send().await.is_ok()
        })
        .await;
        let profile = std::env::temp_dir().join(format!("browser-{}", Uuid::now_v7().simple()));
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--lang=en-GB",
            &format!("--user-data-dir={}", profile.display()),
        ] {
            capabilities.add_arg(argument).unwrap();
        }
        let driver = WebDriver::new(&url, capabilities).await.unwrap();
        driver.set_script_timeout(SCRIPT_TIMEOUT).await.unwrap();
        let browser = Self { driver, _process: process, profile };
        browser.look(Look::DESKTOP).await;
        Some(browser)
    }

    /// Runs a command of the `DevTools` protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(name, parameters).await.unwrap()
    }

    /// Changes how the page is looked at.
    pub(crate) async fn look(&self, look: Look) {
        let metrics = json!({ "width": look.width, "height": 900, "deviceScaleFactor": 1,
                              "mobile": look.width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!([{ "name": "prefers-color-scheme", "value": look.scheme },
                              { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Runs the body of a function in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let returned = self.driver.execute(script, Vec::new()).await.unwrap();
        returned.json().clone()
    }

    /// What a person sees of the first element that matches.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!(
            "const found = document.querySelector({}); return found === null ? '' : found.innerText;",
            json!(selector)
        );
        self.run(&script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the first element that matches shows this text.
    pub(crate) async fn shows(&self, selector: &str, expected: &str) {
        let mut seen = String::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            seen = self.text(selector).await;
            if seen.contains(expected) {
                return;
            }
            tokio::time::sleep(super::eventually::PAUSE).await;
        }
        panic!("{selector} shows {seen:?} and not {expected:?}");
    }

    /// Clicks on the first element that matches, once it is there.
    pub(crate) async fn click(&self, selector: &str) {
        let element = eventually(selector, async || {
            let found = self.driver.find(By::Css(selector)).await.ok()?;
            found.is_clickable().await.unwrap_or(false).then_some(found)
        })
        .await;
        element.scroll_into_view().await.unwrap();
        element.click().await.unwrap();
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: impl Into<TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// Keeps a picture of what is seen of the page, for people.
    pub(crate) async fn picture(&self, name: &str) {
        self.keep(name, json!({ "format": "png" })).await;
    }

    async fn keep(&self, name: &str, parameters: Value) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let taken = self.command("Page.captureScreenshot", parameters).await;
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap());
        std::fs::write(folder.join(format!("{name}.png")), bytes.unwrap()).unwrap();
    }

    /// Pictures of the page in all looks.
    pub(crate) async fn pictures(&self, name: &str) {
        for look in Look::ALL {
            self.look(look).await;
            self.picture(&format!("{name}-{}-{}", look.width, look.scheme)).await;
        }
        self.look(Look::DESKTOP).await;
    }

    /// Pictures of the whole page, however long, in all looks.
    pub(crate) async fn whole_pictures(&self, name: &str) {
        for look in Look::ALL {
            self.look(look).await;
            let height = self.run("return document.documentElement.scrollHeight;").await;
            let clip = json!({ "x": 0, "y": 0, "width": look.width, "height": height, "scale": 1 });
            let parameters =
                json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
            self.keep(&format!("{name}-{}-{}", look.width, look.scheme), parameters).await;
        }
        self.look(Look::DESKTOP).await;
    }

    /// Ends it.
    pub(crate) async fn quit(self) {
        let Self { driver, profile, .. } = self;
        driver.quit().await.unwrap();
        let _ = std::fs::remove_dir_all(profile);
    }
}
