// Light or dark, before anything is drawn: as the system has it, unless this page was told otherwise.
"use strict";

(() => {
  const KEPT = "reve-stand-in-theme";
  const root = document.documentElement;

  function kept() {
    try {
      return localStorage.getItem(KEPT) || "";
    } catch {
      return "";
    }
  }

  function keep(theme) {
    try {
      localStorage.setItem(KEPT, theme);
    } catch {
      // a browser that may store nothing: it lasts as long as the page
    }
  }

  root.dataset.theme = kept();
  document.addEventListener("DOMContentLoaded", () => {
    for (const choice of document.querySelectorAll("[name=theme]")) {
      choice.checked = choice.value === root.dataset.theme;
      choice.addEventListener("change", () => {
        root.dataset.theme = choice.value;
        keep(choice.value);
      });
    }
  });
})();
