// Waiting for conditions, never for time alone.

/**
 * Calls `probe` until it returns something truthy, and returns that. The last thing it returned or threw is in the
 * error when time runs out; one marked `isFinal` is not waited on.
 */
export async function until(what, probe, { within_ms = 15_000, every_ms = 100 } = {}) {
  const deadline = Date.now() + within_ms;
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      if (error.isFinal) throw error;
      last = error;
    }
    if (Date.now() > deadline) {
      const seen = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`${what}: not within ${within_ms} ms (last: ${seen})`);
    }
    await new Promise((done) => setTimeout(done, every_ms));
  }
}
