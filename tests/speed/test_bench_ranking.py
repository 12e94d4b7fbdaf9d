"""The benchmark of boards: what it draws is what a leaderboard ranks over runs × speakers."""

from __future__ import annotations

from ranking import drawn_board

from barlow_speech.benchmark.reporting.leaderboard import leaderboard


def test_a_drawn_board_is_ranked() -> None:
    for speakers, over in ((6, "runs × speakers"), (0, "runs × recordings")):
        (board,) = leaderboard(drawn_board(3, 2, 4, 60, speakers)).boards
        scores = [score for row in board.rows for score in row.scores if score]
        assert len(scores) == 6 and all(score.rank for score in scores)
        assert {score.summary["over"] for score in scores} == {over}
