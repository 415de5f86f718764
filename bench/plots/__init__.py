"""Pictures of the benchmark book, drawn from the measures of committed results.

python -m lowtide.bench.plots            # writes docs/book/*.svg
python -m lowtide.bench.plots --check    # exit code 1 where a picture is not what results say
"""

__all__: list[str] = []
