// The button that copies the address of the page: it says all that the page shows.
export default function show({ parentElement }) {
  const button = parentElement.querySelector("button");
  let waiting;
  button.onclick = async () => {
    // A page of the site names the address that it keeps when a newer version takes its place.
    const kept = document.querySelector("link[rel=canonical]");
    const address = kept ? kept.href + window.location.hash : window.location.href;
    button.textContent = (await copied(address)) ? "Link copied" : "Copy it from the address bar";
    clearTimeout(waiting);
    waiting = setTimeout(() => (button.textContent = "Copy link"), 2000);
  };
  return () => clearTimeout(waiting);
}

// The clipboard is there on https and on this machine; elsewhere an old command does it.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
