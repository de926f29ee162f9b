//! Makes sure that there is a dashboard to embed: the server must build before the page was built.

use std::{error::Error, fs, path::Path};

const PLACEHOLDER: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Hearth</title>
<h1>The dashboard was not built</h1>
<p>Run <code>npm ci &amp;&amp; npm run build</code> in the folder <code>ui</code>, then build the server again.</p>
</html>
";

fn main() -> Result<(), Box<dyn Error>> {
    let dist = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../ui/dist");
    let page = dist.join("index.html");
    if !page.exists() {
        fs::create_dir_all(&dist)?;
        fs::write(&page, PLACEHOLDER)?;
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", dist.display());
    Ok(())
}
