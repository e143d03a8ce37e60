// Dark mode, search, copying, pausing, and the mark of the heading in sight. The theme is set at
// once, before anything is drawn; the rest waits for the page.
(() => {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const stored = {  // a browser may forbid it
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(theme) {
      try {
        if (theme) localStorage.setItem("theme", theme); else localStorage.removeItem("theme");
      } catch { /* the choice lasts as long as the page */ }
    },
  };
  const themeOf = dark => dark ? "dark" : "light";
  if (stored.get()) root.dataset.theme = stored.get();

  // A theme that differs from the system's is kept; choosing the system's own follows it again.
  function darkMode() {
    const button = document.querySelector(".dark");
    const isDark = () => (root.dataset.theme || themeOf(system.matches)) === "dark";
    const show = () => button.setAttribute("aria-checked", isDark());
    button.hidden = false;
    button.addEventListener("click", () => {
      const theme = themeOf(!isDark());
      stored.set(theme === themeOf(system.matches) ? null : theme);
      root.dataset.theme = theme;
      if (!stored.get()) delete root.dataset.theme;
      show();
    });
    system.addEventListener("change", show);
    show();
  }

  // The index is a script, since a page opened from a folder may not fetch a file. It is loaded
  // when somebody searches.
  function search() {
    const form = document.querySelector(".search"), input = form.querySelector("input");
    const panel = form.querySelector(".found"), list = panel.querySelector("ul");
    const said = panel.querySelector("p");

    function load() {
      if (document.querySelector("#index")) return;
      const script = document.createElement("script");
      script.id = "index";
      script.src = "search.js";
      script.addEventListener("load", show);
      document.head.append(script);
    }

    function marked(text, words) {  // the text as nodes, with the words in <mark>
      const escaped = words.map(word => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
      return text.split(new RegExp(`(${escaped.join("|")})`, "i")).map((part, k) => {
        if (k % 2 === 0) return part;
        const mark = document.createElement("mark");
        mark.textContent = part;
        return mark;
      });
    }

    function excerpt(text, words) {  // what stands around the first word found
      const low = text.toLowerCase();
      const at = Math.max(0, Math.min(...words.map(w => low.indexOf(w)).filter(k => k >= 0)) - 60);
      if (!Number.isFinite(at)) return text.slice(0, 120);
      const start = at ? text.indexOf(" ", at) + 1 : 0;
      return (start ? "… " : "") + text.slice(start, start + 160) + " …";
    }

    function entry([address, page, heading, text], words) {
      const item = document.createElement("li"), link = document.createElement("a");
      const title = document.createElement("strong"), where = document.createElement("span");
      const around = document.createElement("span");
      title.append(...marked(heading, words));
      where.textContent = page;
      around.append(...marked(excerpt(text, words), words));
      link.href = address;
      link.append(title, where, around);
      item.append(link);
      return item;
    }

    function ranked(words) {  // sections that hold every word; those with it in the heading first
      const found = [];
      for (const section of SECTIONS) {
        const heading = section[2].toLowerCase(), all = section.join(" ").toLowerCase();
        if (!words.every(word => all.includes(word))) continue;
        found.push([words.filter(word => heading.includes(word)).length, section]);
      }
      return found.sort((a, b) => b[0] - a[0]).map(([, section]) => section);
    }

    function show() {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      panel.hidden = !words.length || typeof SECTIONS === "undefined";
      if (panel.hidden) return;
      const found = ranked(words);
      said.textContent = found.length === 0 ? "Nothing found: try fewer or other words."
        : found.length === 1 ? "1 section" : `${found.length} sections`;
      list.replaceChildren(...found.slice(0, 30).map(section => entry(section, words)));
      panel.scrollTop = 0;
    }

    function close() { panel.hidden = true; }

    function step(by) {  // from the box down the list, and up again
      const stops = [input, ...list.querySelectorAll("a")];
      const next = stops[stops.indexOf(document.activeElement) + by];
      if (next && !panel.hidden) next.focus();
    }

    input.addEventListener("focus", load);
    input.addEventListener("input", () => { load(); show(); });
    input.addEventListener("focus", show);
    form.addEventListener("keydown", event => {
      if (event.key === "Escape") { input.value = ""; close(); input.focus(); }
      else if (event.key === "ArrowDown") step(1);
      else if (event.key === "ArrowUp") step(-1);
      else return;
      event.preventDefault();
    });
    form.addEventListener("submit", event => {
      event.preventDefault();
      if (!panel.hidden) list.querySelector("a")?.click();
    });
    list.addEventListener("click", close);
    form.addEventListener("focusout", event => {
      if (event.relatedTarget && !form.contains(event.relatedTarget)) close();
    });
    document.addEventListener("pointerdown", event => {
      if (!form.contains(event.target)) close();
    });
    document.addEventListener("keydown", event => {
      const typing = event.target.closest("input, [role=application]");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        input.focus();
      }
    });
  }

  function copying() {
    if (!navigator.clipboard) return;  // a page that came over plain http has none
    for (const code of document.querySelectorAll(".highlight pre")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent.trimEnd());
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.before(button);
    }
  }

  // An animation can be stopped; where the system asks for less motion, it starts stopped.
  function pausing() {
    for (const image of document.querySelectorAll('main img[src^="data:image/gif"]')) {
      const button = document.createElement("button"), still = document.createElement("canvas");
      button.type = "button";
      button.className = "pause";
      still.setAttribute("role", "img");
      still.setAttribute("aria-label", image.alt);
      still.hidden = true;
      function set(paused) {
        if (paused) {
          [still.width, still.height] = [image.naturalWidth, image.naturalHeight];
          still.getContext("2d").drawImage(image, 0, 0);
        }
        [image.hidden, still.hidden] = [paused, !paused];
        button.textContent = paused ? "Play" : "Pause";
      }
      button.addEventListener("click", () => set(!image.hidden));
      image.after(still, button);
      image.decode().then(() => set(matchMedia("(prefers-reduced-motion: reduce)").matches));
    }
  }

  // Whatever is wider than its column scrolls sideways, with the keyboard too: also a formula in a
  // line of prose.
  function fit() {
    const edge = document.querySelector("main").getBoundingClientRect().right;
    const formulas = [...document.querySelectorAll("main :not(.MathJax_Display) > .MathJax")];
    formulas.forEach(formula => formula.classList.remove("wide"));
    const wide = formulas.filter(formula => formula.getBoundingClientRect().right > edge + 1);
    wide.forEach(formula => formula.classList.add("wide"));
    for (const box of document.querySelectorAll("main pre, .scroll, .MathJax_Display, .MathJax")) {
      if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto") {
        box.tabIndex = 0;
      } else {
        box.removeAttribute("tabindex");
      }
    }
  }

  function headingInSight() {
    const menu = document.querySelector("#menu");
    const links = [...menu.querySelectorAll(".headings a")];
    const places = links.map(a => document.getElementById(decodeURIComponent(a.hash.slice(1))));
    let now;
    function look() {
      const passed = places.filter(place => place.getBoundingClientRect().top < 120).length;
      const link = links[Math.max(0, passed - 1)];
      if (link === now) return;
      now?.removeAttribute("aria-current");
      link?.setAttribute("aria-current", "true");
      now = link;
      const list = link?.offsetParent;  // what scrolls: the list alone, never the page
      if (list) list.scrollTop = link.offsetTop - list.clientHeight / 2;
    }
    addEventListener("scroll", look, { passive: true });
    look();
    menu.addEventListener("click", event => {
      if (event.target.closest("a") && menu.matches(":popover-open")) menu.hidePopover();
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    darkMode();
    search();
    copying();
    pausing();
    headingInSight();
    new ResizeObserver(() => requestAnimationFrame(fit)).observe(document.querySelector("main"));
  });
})();

// MathJax: the one font that is bundled with it, and none of those that it would ask for besides,
// for an empty one and for the MathML that it hides for screen readers.
var MathJax = (() => {
  const nowhere = { src: "local('none')" };
  return {
    TeX: { equationNumbers: { autoNumber: "AMS" } },
    tex2jax: { inlineMath: [["$", "$"]], processEscapes: true },
    "HTML-CSS": { scale: 92, availableFonts: [], preferredFont: null, imageFont: null,
      webFont: "STIX-Web", styles: { "@font-face": nowhere } },
    NativeMML: { styles: Object.fromEntries(
      [1, 2, 3, 4, 5, 6].map(k => [`@font-face /*${k}*/`, nowhere])) },
    messageStyle: "none",
    showMathMenu: false,
  };
})();
