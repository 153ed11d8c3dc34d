// Runs before anything is painted, so that no theme flashes.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("theme") || "auto";
  } catch {
    // Storage may be forbidden: then the choice lasts as long as the page.
  }
  const apply = () => {
    root.dataset.shade = chosen === "dark" || (chosen === "auto" && dark.matches) ? "dark" : "light";
    document.dispatchEvent(new Event("themechange"));
  };
  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    for (const input of document.querySelectorAll('input[name="theme"]')) {
      input.checked = input.value === chosen;
      input.addEventListener("change", () => {
        chosen = input.value;
        try {
          localStorage.setItem("theme", chosen);
        } catch {
          // As above.
        }
        apply();
      });
    }
  });
})();
