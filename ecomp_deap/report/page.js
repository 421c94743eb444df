// Keeps the figures in step with the page: marks the child whose card is open, follows the colour
// scheme, and lets Escape close the card. The page is whole without it.
const start = () => {
  const plots = Bokeh.index.roots.filter((view) => view.canvas_view);
  const source = Bokeh.documents[0].get_model_by_name("children");
  const mark = () => {
    const at = source ? source.data.card.indexOf(location.hash.slice(1)) : -1;
    if (source) source.selected.indices = at < 0 ? [] : [at];
    // Not all browsers unfold what an address leads to.
    const target = document.getElementById(location.hash.slice(1));
    const folded = target?.closest("details:not([open])");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", mark);
  mark();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots) plot.request_repaint();
  });
  addEventListener("keydown", (event) => {
    if (event.key == "Escape" && document.querySelector(".card:target")) location.hash = "closed";
  });
  // A figure does nothing by keyboard that the table does not, so Tab passes it by.
  for (const plot of plots) plot.canvas_view.events_el.tabIndex = -1;
  document.documentElement.dataset.ready = Math.round(performance.now());
};
const wait = () => {
  const [found] = Bokeh.documents;
  if (found && found.is_idle) start();
  else requestAnimationFrame(wait);
};
wait();
