"""A process that decodes files for another one: `python -m musicrec.audio.worker`, driven by `musicrec.audio.ahead`.

A request is one line of JSON on stdin: path, sample_rate, max_seconds. The answer is one line of JSON on stdout
(samples, rate, note, decode_seconds, resample_seconds, or error), followed by the samples as raw float32. It exits
at the end of stdin.
"""

from __future__ import annotations

import json
import os
import sys

from musicrec.audio.decode import AudioError, decode


def main() -> None:
    """Answers requests until stdin ends."""
    # What a C library prints must not get between the answers: they go to a copy of stdout, and descriptor 1 becomes 2.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        samples = memoryview(b"")
        try:
            audio = decode(**request)
            samples = audio.wave.astype("<f4", copy=False).data.cast("B")
            answer = {
                "samples": len(audio.wave),
                "rate": audio.rate,
                "note": audio.note,
                "decode_seconds": audio.decode_seconds,
                "resample_seconds": audio.resample_seconds,
            }
        except AudioError as error:
            answer = {"error": str(error)}
        except Exception as error:  # whatever a file does to a decoder, only that file fails
            answer = {"error": f"the decoder failed: {type(error).__name__}: {error}"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(samples)
        answers.flush()


if __name__ == "__main__":
    main()
